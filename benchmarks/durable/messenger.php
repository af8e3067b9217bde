<?php

// Symfony's Messenger on a database, without the framework around it: php messenger.php put|consume COUNT DBAL-PARAMETERS

declare(strict_types=1);

use Doctrine\DBAL\DriverManager;
use Symfony\Component\EventDispatcher\EventDispatcher;
use Symfony\Component\Messenger\Bridge\Doctrine\Transport\Connection;
use Symfony\Component\Messenger\Bridge\Doctrine\Transport\DoctrineTransport;
use Symfony\Component\Messenger\Bridge\Doctrine\Transport\PostgreSqlConnection;
use Symfony\Component\Messenger\Envelope;
use Symfony\Component\Messenger\Event\WorkerRunningEvent;
use Symfony\Component\Messenger\Handler\HandlersLocator;
use Symfony\Component\Messenger\MessageBus;
use Symfony\Component\Messenger\Middleware\HandleMessageMiddleware;
use Symfony\Component\Messenger\Transport\Serialization\PhpSerializer;
use Symfony\Component\Messenger\Worker;

require 'Doctrine/DBAL/autoload.php';
require 'Symfony/Component/EventDispatcher/autoload.php';
require 'Symfony/Component/Messenger/autoload.php';
require 'Symfony/Component/Messenger/Bridge/Doctrine/autoload.php';

final class Nothing
{
}

[, $do, $count, $parameters] = $argv;
$dbal = DriverManager::getConnection(json_decode($parameters, true));
$configuration = ['table_name' => 'messenger_messages', 'auto_setup' => $do === 'put'];
$postgres = str_contains($parameters, 'pgsql');
$connection = $postgres ? new PostgreSqlConnection($configuration, $dbal) : new Connection($configuration, $dbal);
$transport = new DoctrineTransport($connection, new PhpSerializer());
if ($do === 'put') {
    $transport->setup();
    $dbal->beginTransaction();
    for ($number = 0; $number < (int) $count; ++$number) {
        $transport->send(new Envelope(new Nothing()));
    }
    $dbal->commit();
    exit;
}
$bus = new MessageBus([new HandleMessageMiddleware(new HandlersLocator([Nothing::class => [static fn() => null]]))]);
$events = new EventDispatcher();
// it has caught up
$events->addListener(
    WorkerRunningEvent::class,
    static fn(WorkerRunningEvent $event) => $event->isWorkerIdle() && $event->getWorker()->stop(),
);
(new Worker(['async' => $transport], $bus, $events))->run(['sleep' => 1000]);
