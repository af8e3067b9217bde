<?php

declare(strict_types=1);

namespace Shop;

use RuntimeException;

function total(int ...$prices): int
{
    return array_sum($prices);
}

class Price
{
    public function __construct(private string $unit = 'none')
    {
    }

    public static function of(int $id, string $currency = 'EUR', float $factor = 1.0): array
    {
        return ['id' => $id, 'currency' => $currency, 'factor' => $factor];
    }

    public function unit(): string
    {
        return $this->unit;
    }

    private static function hidden(): string
    {
        return 'hidden';
    }
}

class Reports
{
    #[\FcgiCallable]
    public static function marked(): string
    {
        return 'marked';
    }

    public static function unmarked(): string
    {
        return 'unmarked';
    }

    #[\FcgiCallable]
    private static function markedAndPrivate(): string
    {
        return 'private';
    }
}

class Late
{
    public function __destruct()
    {
        echo 'printed by a destructor';
    }
}

function echoed(mixed $value): mixed
{
    return $value;
}

function exported(mixed $value): string
{
    return var_export($value, true);
}

function does(string $what, string $gate = ''): mixed
{
    global $late;
    return match ($what) {
        'throw' => throw new RuntimeException('no price', 3, new \LogicException("caf\u{e9}")),
        'throw bytes' => throw new RuntimeException("\xff"),
        'type error' => total('one'),
        'exit' => exit(3),
        'exit with text' => exit('bye'),
        'fatal' => eval('class A extends Missing {} '),
        'memory' => str_repeat('x', 1 << 40),
        'time' => (static function (): void { set_time_limit(1); while (true); })(),
        'nan' => NAN,
        'bytes' => "\xff\x00",
        'resource' => fopen('php://memory', 'r'),
        'closure' => fn () => 1,
        'generator' => (fn () => yield 1)(),
        'big float' => 2.0 ** 80,
        'third' => 1 / 3,
        'whole float' => 7.0,
        'int' => PHP_INT_MIN,
        'empty' => [],
        'print' => print('printed, and not a part of the result'),
        'flush' => [print('flushed'), ob_flush(), flush()][0],
        'destructor' => ($late = new Late()) !== null,
        'finish' => fastcgi_finish_request(),
        'status' => http_response_code(418),
        'wait' => (static function () use ($gate): void { while (!file_exists($gate)) { usleep(2000); clearstatcache(); } })(),
    };
}
