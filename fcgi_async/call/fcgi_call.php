<?php

declare(strict_types=1);

/** Marks a public method that may be called, of a class that FcgiCall::serve() is given by its name. */
#[Attribute(Attribute::TARGET_METHOD)]
final class FcgiCallable
{
}

/**
 * Functions of this application, called from Python by `await php.call("Shop\\Price::of", 7, currency: "CHF")`.
 *
 * Write a script of your own, outside every document root, that says which; it is the dispatcher's `call_script`:
 *
 *     require __DIR__ . '/fcgi_call.php';
 *     FcgiCall::serve(
 *         allow: ['Shop\Price::of', 'strtoupper', Shop\Reports::class],
 *         autoload: __DIR__ . '/vendor/autoload.php',
 *     );
 *
 * Nothing else can be called: no name is looked up, and no class is loaded, unless it is on the list. Requests that came
 * through a web server are refused. One file for PHP 8.1 and newer, without dependencies. Arguments are checked as under
 * strict_types.
 */
final class FcgiCall
{
    private const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;
    private const JSON = JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES;
    // bytes of what a script printed before it ended
    private const SHOWN = 2000;

    private static bool $answered = false;
    // freed when memory has run out
    private static ?string $reserve = null;

    /**
     * Answers one call.
     *
     * @param array<int|string, string|callable> $allow what may be called: 'function', 'Class::method', a class's name,
     *     of which methods with #[FcgiCallable] may be called, or 'a name of yours' => a callable
     * @param string|callable|null $autoload a file to require first, or a function to call, which may load the rest; its
     *     errors are reported as those of a function are
     * @param callable|null $make returns an object of a class, of which a method is called that is not static:
     *     fn (string $class) => $container->get($class)
     */
    public static function serve(array $allow, string|callable|null $autoload = null, ?callable $make = null): void
    {
        // a visitor of a web server can send HTTP_* alone
        if (($_SERVER['FCGI_CALL'] ?? null) !== '1') {
            http_response_code(404);
            echo "File not found.\n";
            return;
        }
        // they are logged; when memory has run out, PHP would print before the answer
        ini_set('display_errors', '0');
        ini_set('zlib.output_compression', '0');
        ini_set('serialize_precision', '-1');
        self::$reserve = str_repeat(' ', 65536);
        // what a function prints goes nowhere, even if it is flushed
        ob_start(static fn (string $printed): string => '');
        register_shutdown_function(self::atEnd(...));
        try {
            if (is_string($autoload)) {
                require_once $autoload;
            } elseif ($autoload !== null) {
                $autoload();
            }
            self::call($allow, $make);
        } catch (Throwable $error) {
            self::answer(500, ['threw' => self::describe($error)]);
        }
    }

    /** @param array<int|string, string|callable> $allow */
    private static function call(array $allow, ?callable $make): void
    {
        try {
            $request = json_decode(file_get_contents('php://input'), true, 512, JSON_THROW_ON_ERROR | JSON_BIGINT_AS_STRING);
            ['function' => $name, 'args' => $args, 'named' => $named] = $request;
        } catch (JsonException $error) {
            self::answer(400, ['refused' => 'the request is not whole: ' . $error->getMessage()]);
            return;
        }
        $function = self::find(ltrim($name, '\\'), $allow, $make);
        if (is_string($function)) {
            self::answer(403, ['refused' => $function]);
            return;
        }
        $result = $function(...$args, ...$named);
        if ($result instanceof Closure || ($result instanceof Traversable && !$result instanceof JsonSerializable)) {
            self::answer(500, ['unsendable' => get_debug_type($result) . ' is no value; return an array: iterator_to_array()']);
            return;
        }
        try {
            $json = json_encode(['fcgi_call' => 1, 'result' => $result], self::JSON);
        } catch (JsonException $error) {
            self::answer(500, ['unsendable' => $error->getMessage()]);
            return;
        }
        self::send(200, $json);
    }

    /**
     * Returns what to call, or why that is refused.
     *
     * @param array<int|string, string|callable> $allow
     */
    private static function find(string $name, array $allow, ?callable $make): Closure|string
    {
        $listed = false;
        foreach ($allow as $key => $entry) {
            if (is_string($key)) {
                if ($key === $name) {
                    return Closure::fromCallable($entry);
                }
            } elseif (is_string($entry)) {
                $listed = $listed || ltrim($entry, '\\') === $name;
            }
        }
        [$class, $method] = explode('::', $name, 2) + [1 => null];
        if (!$listed) {
            $classes = array_map(
                static fn (mixed $entry): string => is_string($entry) ? ltrim($entry, '\\') : '',
                array_filter($allow, is_int(...), ARRAY_FILTER_USE_KEY),
            );
            if ($method === null || !in_array($class, $classes, true) || !self::isMarked($class, $method)) {
                return "$name is not what FcgiCall::serve() allows in " . ($_SERVER['SCRIPT_FILENAME'] ?? 'its script');
            }
        }
        if ($method === null) {
            return function_exists($name) ? Closure::fromCallable($name) : "$name is allowed, and there is no such function";
        }
        if (is_callable([$class, $method])) {
            return Closure::fromCallable([$class, $method]);
        }
        if (!method_exists($class, $method) || !(new ReflectionMethod($class, $method))->isPublic()) {
            return "$name is allowed, and there is no such public method";
        }
        if ($make === null) {
            return "$name is not static: FcgiCall::serve() needs make:, which returns an object of a class";
        }
        return Closure::fromCallable([$make($class), $method]);
    }

    private static function isMarked(string $class, string $method): bool
    {
        return method_exists($class, $method)
            && (new ReflectionMethod($class, $method))->getAttributes(FcgiCallable::class) !== [];
    }

    /** Runs at the end of the script, in whatever way it came. */
    private static function atEnd(): void
    {
        if (self::$answered) {
            return;
        }
        self::$reserve = null;
        $error = error_get_last();
        if ($error !== null && ($error['type'] & self::FATAL) !== 0) {
            self::answer(500, ['fatal' => $error]);
        } else {
            self::answer(500, ['exited' => ['output' => substr((string) ob_get_contents(), 0, self::SHOWN)]]);
        }
    }

    /** @return array<string, mixed> */
    private static function describe(Throwable $error): array
    {
        return [
            'class' => get_class($error),
            'message' => $error->getMessage(),
            'code' => $error->getCode(),
            'file' => $error->getFile(),
            'line' => $error->getLine(),
            'previous' => $error->getPrevious() === null ? null : self::describe($error->getPrevious()),
        ];
    }

    /** @param array<string, mixed> $answer */
    private static function answer(int $status, array $answer): void
    {
        $options = self::JSON | JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR;
        self::send($status, json_encode(['fcgi_call' => 1] + $answer, $options & ~JSON_THROW_ON_ERROR));
    }

    private static function send(int $status, string $json): void
    {
        self::$answered = true;
        while (ob_get_level() > 0 && @ob_end_clean());
        http_response_code($status);
        header('Content-Type: application/json');
        header('Content-Length: ' . strlen($json));
        echo $json;
        // and what is printed from now on, by a destructor, is not a part of it
        ob_start(static fn (string $printed): string => '');
    }
}
