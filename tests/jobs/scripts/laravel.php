<?php
// Laravel's way to the database, its DB facade: php laravel.php LIBRARY DSN USER
// packaged is a release that is older than the language
error_reporting(E_ALL & ~E_DEPRECATED);
require '/usr/share/php/Illuminate/Database/autoload.php';
require $argv[1];
use Illuminate\Database\Capsule\Manager as DB;

[$driver, $settings] = explode(':', $argv[2], 2);
$known = $driver === 'sqlite' ? ['dbname' => $settings] : [];
foreach ($known ? [] : explode(';', $settings) as $setting) {
    [$name, $value] = explode('=', $setting, 2);
    $known[$name] = $value;
}
$capsule = new DB();
$capsule->addConnection(array_filter([
    'driver' => $driver,
    'host' => $known['host'] ?? null,
    'unix_socket' => $known['unix_socket'] ?? null,
    'database' => $known['dbname'],
    'schema' => substr(strrchr($known['options'] ?? '', '='), 1),
    'username' => $argv[3],
    'charset' => $driver === 'mysql' ? 'utf8mb4' : 'utf8',
    'collation' => 'utf8mb4_unicode_ci',
    'strict' => true,
]));
$capsule->setAsGlobal();

function order(int $order): void
{
    DB::table('orders')->insert(['number' => $order]);
    FcgiJobs::enqueue(DB::connection()->getPdo(), 'mail', ['order' => $order], unique: "order-$order");
}

if (isset($_SERVER['FCGI_JOB_ID'])) {
    DB::connection()->transaction(function (): void {
        FcgiJobs::complete(DB::connection()->getPdo());
        DB::table('orders')->insert(['number' => 100]);
    });
    exit;
}
DB::connection()->transaction(fn () => order(1));
try {
    DB::connection()->transaction(function (): void {
        order(2);
        throw new DomainException('the card was refused');
    });
} catch (DomainException) {
}
DB::connection()->transaction(function (): void {
    order(3);
    try {
        DB::connection()->transaction(function (): void {
            order(4);
            throw new DomainException('sold out');
        });
    } catch (DomainException) {
    }
    order(5);
});
