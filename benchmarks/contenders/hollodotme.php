<?php declare(strict_types=1);
// hollodotme/fast-cgi-client, the usual client of PHP programs: as many async requests under way as there are workers,
// over sockets that it keeps. Usage: php hollodotme.php SETTING CHECKOUT

use hollodotme\FastCGI\Client;
use hollodotme\FastCGI\Requests\GetRequest;
use hollodotme\FastCGI\SocketConnections\NetworkSocket;
use hollodotme\FastCGI\SocketConnections\UnixDomainSocket;

[, $json, $checkout] = $argv;
$setting = json_decode($json, false, 512, JSON_THROW_ON_ERROR);

spl_autoload_register(static function (string $class) use ($checkout): void {
    $prefix = 'hollodotme\\FastCGI\\';
    if (str_starts_with($class, $prefix)) {
        require $checkout . '/src/' . str_replace('\\', '/', substr($class, strlen($prefix))) . '.php';
    }
});

[$scheme, $place] = explode('://', $setting->address);
[$host, $port] = [strtok($place, ':'), (int) strtok('')];
$connection = $scheme === 'unix' ? new UnixDomainSocket($place, 5000, 60000) : new NetworkSocket($host, $port, 5000, 60000);

function memory(string $name): int
{
    preg_match("/^$name:\s+(\d+)/m", file_get_contents('/proc/self/status'), $found);
    return (int) $found[1];
}

function cpu(): float
{
    $usage = getrusage();
    return $usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec'] + ($usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec']) / 1e6;
}

$client = new Client();

$run = static function (int $jobs) use ($client, $connection, $setting): array {
    $begun = $latencies = [];
    $send = static function () use ($client, $connection, $setting, &$begun): void {
        $request = new GetRequest($setting->script, '');
        $request->setCustomVar('QUERY_STRING', $setting->params->QUERY_STRING);
        $now = hrtime(true);
        $begun[$client->sendAsyncRequest($connection, $request)] = $now;
    };
    $atOnce = min($setting->at_once, $setting->workers);
    for ($left = $jobs; $left > 0 && count($begun) < $atOnce; --$left) {
        $send();
    }
    while ($begun) {
        foreach ($client->getSocketIdsHavingResponse() as $id) {
            if (!isset($begun[$id])) {
                continue;
            }
            if ($client->readResponse($id)->getBody() !== $setting->expected) {
                throw new RuntimeException('PHP answered something else');
            }
            $latencies[] = (hrtime(true) - $begun[$id]) / 1e9;
            unset($begun[$id]);
            if ($left > 0) {
                --$left;
                $send();
            }
        }
    }
    return $latencies;
};

$run($setting->warm_up);
file_put_contents('/proc/self/clear_refs', '5');
[$memory, $cpu, $wall] = [memory('VmRSS'), cpu(), hrtime(true)];
$latencies = $run($setting->jobs);
[$cpu, $wall] = [cpu() - $cpu, (hrtime(true) - $wall) / 1e9];
sort($latencies);
echo json_encode([
    'jobs' => $setting->jobs,
    'cpu' => $cpu,
    'wall' => $wall,
    'memory' => max(0, memory('VmHWM') - $memory),
    'p50' => $latencies[intdiv(count($latencies), 2)],
    'p99' => $latencies[intdiv(count($latencies) * 99, 100)],
    'longest' => end($latencies),
]), "\n";
