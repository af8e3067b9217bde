<?php

declare(strict_types=1);

// Laravel 8 is older than PHP 8.2, and deprecations are none of our business here
error_reporting(E_ALL & ~E_DEPRECATED);
require_once 'Illuminate/autoload.php';

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Http\Kernel as HandlesRequests;
use Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse;
use Illuminate\Cookie\Middleware\EncryptCookies;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Exceptions\Handler;
use Illuminate\Foundation\Http\Kernel;
use Illuminate\Foundation\Support\Providers\RouteServiceProvider;
use Illuminate\Session\Middleware\StartSession;

final class ShopKernel extends Kernel
{
    protected $middlewareGroups = [
        'web' => [EncryptCookies::class, AddQueuedCookiesToResponse::class, StartSession::class],
    ];
}

final class ShopRoutes extends RouteServiceProvider
{
    public function boot(): void
    {
        $this->routes(fn () => $this->app['router']->middleware('web')->group(base_path('routes/web.php')));
    }
}

$app = new Application(dirname(__DIR__));
$app->singleton(HandlesRequests::class, ShopKernel::class);
$app->singleton(ExceptionHandler::class, Handler::class);
return $app;
