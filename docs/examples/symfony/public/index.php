<?php

declare(strict_types=1);

// Symfony's components, as Debian's packages php-symfony-http-kernel and php-symfony-routing bring them
foreach (['EventDispatcher', 'HttpFoundation', 'HttpKernel', 'Routing'] as $component) {
    require_once "Symfony/Component/$component/autoload.php";
}
require __DIR__ . '/../src/Orders.php';
require __DIR__ . '/../src/kernel.php';

use Symfony\Component\HttpFoundation\Request;

$request = Request::createFromGlobals();
$kernel = kernel(getenv('ORDERS') ?: sys_get_temp_dir() . '/orders.sqlite');
$response = $kernel->handle($request);
// answers the visitor, and calls fastcgi_finish_request()
$response->send();
$kernel->terminate($request, $response);
