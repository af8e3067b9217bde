<?php

require $_SERVER['CALL_LIBRARY'];

FcgiCall::serve(
    allow: [
        'Shop\total',
        'Shop\Price::of',
        '\Shop\Price::unit',
        'Shop\Price::hidden',
        'Shop\Price::missing',
        Shop\Reports::class,
        'Shop\does',
        'Shop\echoed',
        'Shop\exported',
        'strtoupper',
        'Shop\missing',
        'Missing\Class::method',
        'a name' => fn (int $n): int => $n * 2,
    ],
    autoload: $_SERVER['CALL_AUTOLOAD'] ?? __DIR__ . '/functions.php',
    make: isset($_SERVER['CALL_NO_MAKE']) ? null : fn (string $class) => new $class('made'),
);
