<?php

declare(strict_types=1);

use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\HttpFoundation\JsonResponse;
use Symfony\Component\HttpFoundation\RedirectResponse;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\RequestStack;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpKernel\Controller\ArgumentResolver;
use Symfony\Component\HttpKernel\Controller\ControllerResolver;
use Symfony\Component\HttpKernel\Event\ExceptionEvent;
use Symfony\Component\HttpKernel\EventListener\RouterListener;
use Symfony\Component\HttpKernel\Exception\HttpExceptionInterface;
use Symfony\Component\HttpKernel\HttpKernel;
use Symfony\Component\HttpKernel\KernelEvents;
use Symfony\Component\Routing\Generator\UrlGenerator;
use Symfony\Component\Routing\Generator\UrlGeneratorInterface;
use Symfony\Component\Routing\Matcher\UrlMatcher;
use Symfony\Component\Routing\RequestContext;
use Symfony\Component\Routing\Route;
use Symfony\Component\Routing\RouteCollection;

function kernel(string $database): HttpKernel
{
    $orders = new Orders($database);
    $routes = new RouteCollection();
    $context = new RequestContext();
    $urls = new UrlGenerator($routes, $context);
    $route = static function (string $name, string $path, callable $do, array $methods, array $needs = []) use ($routes) {
        $routes->add($name, new Route($path, ['_controller' => $do], $needs, [], '', [], $methods));
    };
    $link = static fn (int $id) => $urls->generate('order', ['id' => $id], UrlGeneratorInterface::ABSOLUTE_URL);

    $route('home', '/', static fn () => new Response(page($orders->all(), $link)), ['GET']);
    $route('order', '/orders/{id}', static function (int $id) use ($orders) {
        $order = $orders->one($id);
        return $order ? new JsonResponse($order) : new JsonResponse(['error' => "there is no order $id"], 404);
    }, ['GET'], ['id' => '\d+']);
    $route('create', '/orders', static function (Request $request) use ($orders, $link) {
        $article = (string) ($request->toArray()['article'] ?? '');
        $id = $orders->add($article);
        return new JsonResponse(['order' => $id], 201, ['Location' => $link($id)]);
    }, ['POST']);
    $route('form', '/form', static function (Request $request) use ($orders, $link) {
        return new RedirectResponse($link($orders->add((string) $request->request->get('article'))), 303);
    }, ['POST']);
    // what only our own jobs may ask for: no request from outside has a parameter without HTTP_
    $route('invoice', '/internal/invoices/{id}', static function (Request $request, int $id) use ($orders) {
        if ($request->server->get('JOB') !== 'invoices') {
            return new JsonResponse(['error' => 'not for visitors'], 403);
        }
        usleep(20_000);
        return new JsonResponse(['order' => $id, 'invoice' => $orders->invoice($id)]);
    }, ['POST'], ['id' => '\d+']);

    $events = new EventDispatcher();
    $events->addSubscriber(new RouterListener(new UrlMatcher($routes, $context), new RequestStack(), $context));
    $events->addListener(KernelEvents::EXCEPTION, static function (ExceptionEvent $event): void {
        $error = $event->getThrowable();
        $status = $error instanceof HttpExceptionInterface ? $error->getStatusCode() : 500;
        $event->setResponse(new JsonResponse(['error' => $error->getMessage()], $status));
    });
    return new HttpKernel($events, new ControllerResolver(), new RequestStack(), new ArgumentResolver());
}

function page(array $orders, callable $link): string
{
    $items = array_map(
        static fn (array $order) => sprintf(
            '<li><a href="%s">%s</a> %s</li>',
            htmlspecialchars($link($order['id'])),
            htmlspecialchars($order['article']),
            $order['invoice'] === null ? 'no invoice yet' : htmlspecialchars($order['invoice']),
        ),
        $orders,
    );
    return '<!DOCTYPE html><title>Orders</title><link rel="stylesheet" href="/style.css"><h1>Orders</h1><ul>'
        . implode("\n", $items)
        . '</ul><form method="post" action="/form"><input name="article"><button>Order</button></form>';
}
