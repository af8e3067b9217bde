<?php

declare(strict_types=1);

/**
 * Durable jobs of fcgi_async, from PHP's side: put jobs, and tell of the one that runs.
 *
 *     $pdo->beginTransaction();
 *     $pdo->exec("INSERT INTO orders ...");
 *     FcgiJobs::enqueue($pdo, 'mail', ['order' => 7], delay: 60, unique: 'order-7');
 *     $pdo->commit();                                  // the job is there with the order, or not at all
 *
 * $pdo is a PDO of the database of the jobs, on SQLite, PostgreSQL, MariaDB or MySQL; the last two with charset=utf8mb4.
 * One file for PHP 8.0 and newer, without dependencies. PDO must throw exceptions, as it does from PHP 8 on.
 */
final class FcgiJobs
{
    private static ?PDO $own = null;

    /**
     * Puts a job, within the transaction of $pdo if there is one, and wakes a worker once it is committed.
     *
     * With SQLite a transaction wakes nobody: call ring() after its commit, or let workers look, once a second. MariaDB
     * and MySQL wake nobody: workers look each 50 ms to 1 s. PDO::lastInsertId() is the job's afterwards.
     *
     * @param string      $task      the name of the task, as the worker knows it
     * @param mixed       $data      what the task gets, as JSON
     * @param float       $delay     seconds until it may run
     * @param int         $priority  higher runs first
     * @param string|null $unique    a key that one job of the task holds until it is done, dead or cancelled
     * @param float       $uniqueFor seconds for which it is held at least
     * @param string|null $id        a name for the job; putting the same id again stores it once
     *
     * @return string|null the job's id; null if another job holds the key
     *
     * @throws InvalidArgumentException if an argument is out of its range; nothing is written
     */
    public static function enqueue(
        PDO $pdo,
        string $task,
        mixed $data = null,
        float $delay = 0,
        int $priority = 0,
        ?string $unique = null,
        float $uniqueFor = 0,
        ?string $id = null,
    ): ?string {
        self::check($task, $delay, $unique, $uniqueFor, $id);
        $id ??= sprintf('%012x', (int) (microtime(true) * 1000)) . bin2hex(random_bytes(10));
        $now = self::now($pdo);
        $later = (int) round($delay * 1000);
        $until = $unique === null ? 'NULL' : "$now + " . (int) round($uniqueFor * 1000);
        $mysql = self::driver($pdo) === 'mysql';
        // MySQL tells which row there is by LAST_INSERT_ID(), and has no other way that does nothing
        $otherwise = $mysql ? 'ON DUPLICATE KEY UPDATE number = LAST_INSERT_ID(number)' : 'ON CONFLICT DO NOTHING';
        $insert = "INSERT INTO fcgi_jobs (id, task, data, state, priority, created, due, unique_key, unique_until)
            VALUES (?, ?, ?, ?, ?, $now, $now + $later, ?, $until) $otherwise";
        $values = [
            $id,
            $task,
            json_encode($data, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION),
            $later > 0 ? 'delayed' : 'ready',
            $priority,
            $unique,
        ];
        [$put, $found] = self::put($pdo, $insert, $values);
        if ($found !== $id && $unique !== null && self::letGo($pdo, $task, $unique)) {
            [$put, $found] = self::put($pdo, $insert, $values);
        }
        if ($found !== $id || !$put) {
            return $found === $id ? $id : null;
        }
        // PostgreSQL tells nobody before the commit
        if (self::driver($pdo) === 'pgsql' || !$pdo->inTransaction()) {
            self::ring($pdo);
        }
        return $id;
    }

    /**
     * Tells how far the job is that runs: so much of so much. Others see it once it is committed.
     *
     * @param PDO|null $pdo the database of the jobs; with SQLite the worker tells which, and it may be left out
     *
     * @throws LogicException if this script does not run as a job, or $pdo is missing
     */
    public static function progress(int $done, int $of, ?PDO $pdo = null): void
    {
        self::current();
        self::changeOwn($pdo ?? self::own(), 'progress = ?, progress_of = ?', [$done, $of]);
    }

    /**
     * Marks the job that runs as done, within the transaction that holds its effects: both are committed, or neither.
     *
     * Whatever happens to this script, its worker or the network afterwards, the job is not run again. With SQLite call it
     * first in the transaction, since one that has read before may find that it can no longer write. On a server call it
     * last, since it locks the job until the commit: workers pass over it meanwhile, and who cancels it waits.
     *
     * @throws LogicException   if there is no transaction, or this script does not run as a job
     * @throws RuntimeException if the job was given to another attempt meanwhile: roll back, for that one has the effects
     */
    public static function complete(PDO $pdo): void
    {
        if (!$pdo->inTransaction()) {
            throw new LogicException('begin a transaction first: it is to hold the effects of the job and its end');
        }
        if (!self::changeOwn($pdo, 'finished = ' . self::now($pdo) . ", state = 'done'", [])) {
            [$id, $attempt] = self::current();
            throw new RuntimeException("attempt $attempt no longer holds job $id: roll back");
        }
    }

    /**
     * Wakes workers: PostgreSQL's at the commit of the transaction of $pdo, if there is one, SQLite's at once.
     *
     * enqueue() does so where it can; this is for INSERTs of your own, and for SQLite after a transaction. Whoever is not
     * woken looks by himself within a second.
     */
    public static function ring(PDO $pdo): void
    {
        $driver = self::driver($pdo);
        if ($driver === 'pgsql') {
            $pdo->exec('NOTIFY fcgi_jobs_work');
        }
        if ($driver !== 'sqlite') {
            return;
        }
        $file = $pdo->query('PRAGMA database_list')->fetchAll(PDO::FETCH_ASSOC)[0]['file'] ?? '';
        foreach (glob("$file-live/work-*.bell") ?: [] as $bell) {
            $socket = @stream_socket_client("udg://$bell", $code, $error, 0, STREAM_CLIENT_CONNECT);
            if ($socket !== false) {
                stream_set_blocking($socket, false);
                @fwrite($socket, "\x07");
                fclose($socket);
            }
        }
    }

    /** @return array{string, int} the id and the attempt of the job that runs */
    private static function current(): array
    {
        $id = $_SERVER['FCGI_JOB_ID'] ?? null;
        if (!is_string($id)) {
            throw new LogicException('this script does not run as a durable job: there is no FCGI_JOB_ID');
        }
        return [$id, (int) $_SERVER['FCGI_JOB_ATTEMPT']];
    }

    private static function own(): PDO
    {
        $dsn = $_SERVER['FCGI_JOB_DSN'] ?? null;
        if (!is_string($dsn)) {
            throw new LogicException('give the PDO of the database of the jobs: only SQLite is found without it');
        }
        return self::$own ??= new PDO($dsn);
    }

    /**
     * Puts a row, unless one of its id or its key is there.
     *
     * @param list<mixed> $values
     *
     * @return array{bool, ?string} whether it was put, as far as is known, and the id of the row that is there now; null
     *                              if it is another one's
     */
    private static function put(PDO $pdo, string $insert, array $values): array
    {
        $put = self::change($pdo, $insert, $values);
        if (self::driver($pdo) === 'mysql') {
            // what was committed since the transaction began is seen by a locking read alone; the INSERT has the lock
            $found = $pdo->query('SELECT id FROM fcgi_jobs WHERE number = LAST_INSERT_ID() LOCK IN SHARE MODE');
            return [true, $found->fetchColumn() ?: null];
        }
        if ($put === 1) {
            return [true, $values[0]];
        }
        $found = $pdo->prepare('SELECT id FROM fcgi_jobs WHERE id = ?');
        $found->execute([$values[0]]);
        return [false, $found->fetchColumn() ?: null];
    }

    /** Takes a key from a job that has ended, if it was held for its time; returns whether. */
    private static function letGo(PDO $pdo, string $task, string $unique): bool
    {
        $now = self::now($pdo);
        // in a transaction of MySQL's usual kind anything but the primary key would keep others from putting similar keys
        $found = $pdo->query(self::driver($pdo) === 'mysql' ? 'SELECT LAST_INSERT_ID()' : 'SELECT NULL')->fetchColumn();
        return self::change($pdo, "UPDATE fcgi_jobs SET unique_key = NULL, unique_until = NULL
            WHERE task = ? AND unique_key = ? AND unique_until <= $now AND state IN ('done', 'dead', 'cancelled')"
            . ($found === null ? '' : ' AND number = ' . (int) $found), [$task, $unique]) === 1;
    }

    /**
     * Changes the job that runs, if this attempt still holds it; returns whether.
     *
     * @param list<mixed> $parameters
     */
    private static function changeOwn(PDO $pdo, string $set, array $parameters): bool
    {
        [$id, $attempt] = self::current();
        $key = 'id';
        if (self::driver($pdo) === 'mysql') {
            // an id that is not there would lock the place into which others put
            $found = $pdo->prepare('SELECT number FROM fcgi_jobs WHERE id = ?');
            $found->execute([$id]);
            [$key, $id] = ['number', $found->fetchColumn() ?: 0];
        }
        $changed = "UPDATE fcgi_jobs SET $set WHERE $key = ? AND attempt = ? AND state = 'running'";
        return self::change($pdo, $changed, [...$parameters, $id, $attempt]) === 1;
    }

    /** @param list<mixed> $parameters */
    private static function change(PDO $pdo, string $statement, array $parameters): int
    {
        $prepared = $pdo->prepare($statement);
        $prepared->execute($parameters);
        return $prepared->rowCount();
    }

    private static function check(string $task, float $delay, ?string $unique, float $uniqueFor, ?string $id): void
    {
        foreach (['delay' => $delay, 'uniqueFor' => $uniqueFor] as $name => $seconds) {
            if (!($seconds >= 0 && is_finite($seconds))) {
                throw new InvalidArgumentException("$name must be a number of seconds, 0 or more");
            }
        }
        foreach (['task' => $task, 'id' => $id] as $name => $text) {
            if ($text !== null && preg_match('/^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$/D', $text) !== 1) {
                throw new InvalidArgumentException("$name must be 1 to 100 letters, digits and _ . : -");
            }
        }
        if ($unique !== null && preg_match('/^\P{C}{1,200}$/Du', $unique) !== 1) {
            throw new InvalidArgumentException('unique must be 1 to 200 printable characters');
        }
    }

    private static function driver(PDO $pdo): string
    {
        return $pdo->getAttribute(PDO::ATTR_DRIVER_NAME);
    }

    /** The milliseconds since 1970 by the database's clock, whatever time zone the session has, as each dialect has it. */
    private static function now(PDO $pdo): string
    {
        $driver = self::driver($pdo);
        return match ($driver) {
            'sqlite' => "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
            'pgsql' => '(CAST(extract(epoch FROM statement_timestamp()) * 1000 AS bigint))',
            'mysql' => "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000)",
            default => throw new InvalidArgumentException("there are no durable jobs in $driver"),
        };
    }
}
