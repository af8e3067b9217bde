<?php
// Symfony's way to the database, Doctrine's DBAL: php doctrine.php LIBRARY DSN USER
require '/usr/share/php/Doctrine/DBAL/autoload.php';
require $argv[1];
use Doctrine\DBAL\Connection;
use Doctrine\DBAL\DriverManager;

[$driver, $settings] = explode(':', $argv[2], 2);
$known = $driver === 'sqlite' ? ['path' => $settings] : [];
foreach ($known ? [] : explode(';', $settings) as $setting) {
    [$name, $value] = explode('=', $setting, 2);
    $known[$name] = $value;
}
$connection = DriverManager::getConnection(['driver' => "pdo_$driver", 'user' => $argv[3]] + $known);
if ($driver === 'pgsql') {
    $connection->executeStatement('SET ' . substr($known['options'], 2));
}
$connection->setNestTransactionsWithSavepoints(true);

function order(Connection $connection, int $order): void
{
    $connection->insert('orders', ['number' => $order]);
    FcgiJobs::enqueue($connection->getNativeConnection(), 'mail', ['order' => $order], unique: "order-$order");
}

if (isset($_SERVER['FCGI_JOB_ID'])) {
    $connection->transactional(function (Connection $connection): void {
        FcgiJobs::complete($connection->getNativeConnection());
        $connection->insert('orders', ['number' => 100]);
    });
    exit;
}
$connection->transactional(fn (Connection $connection) => order($connection, 1));
try {
    $connection->transactional(function (Connection $connection): void {
        order($connection, 2);
        throw new DomainException('the card was refused');
    });
} catch (DomainException) {
}
$connection->transactional(function (Connection $connection): void {
    order($connection, 3);
    try {
        $connection->transactional(function (Connection $connection): void {
            order($connection, 4);
            throw new DomainException('sold out');
        });
    } catch (DomainException) {
    }
    order($connection, 5);
});
