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
 * One file for PHP 8.0 and newer, without dependencies. PDO must throw exceptions, as it does from PHP 8 on.
 */
final class FcgiJobs
{
    private static ?PDO $own = null;

    /**
     * Puts a job, within the transaction of $pdo if there is one.
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
        if ($delay < 0 || $uniqueFor < 0) {
            throw new InvalidArgumentException('delay and uniqueFor must not be less than 0');
        }
        $id ??= sprintf('%012x', (int) (microtime(true) * 1000)) . bin2hex(random_bytes(10));
        $now = self::now($pdo);
        if ($unique !== null) {
            self::change($pdo, "UPDATE fcgi_jobs SET unique_key = NULL WHERE task = ? AND unique_key = ?
                AND unique_until <= $now AND state IN ('done', 'dead', 'cancelled')", [$task, $unique]);
        }
        $later = (int) round($delay * 1000);
        $until = $unique === null ? 'NULL' : "$now + " . (int) round($uniqueFor * 1000);
        $otherwise = $pdo->getAttribute(PDO::ATTR_DRIVER_NAME) === 'mysql'
            ? 'ON DUPLICATE KEY UPDATE number = number'
            : 'ON CONFLICT DO NOTHING';
        $put = self::change($pdo, "INSERT INTO fcgi_jobs
            (id, task, data, state, priority, created, due, unique_key, unique_until)
            VALUES (?, ?, ?, ?, ?, $now, $now + $later, ?, $until) $otherwise", [
            $id,
            $task,
            json_encode($data, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION),
            $later > 0 ? 'delayed' : 'ready',
            $priority,
            $unique,
        ]);
        if ($put === 0) {
            $found = $pdo->prepare('SELECT 1 FROM fcgi_jobs WHERE id = ?');
            $found->execute([$id]);
            return $found->fetchColumn() === false ? null : $id;
        }
        if (!$pdo->inTransaction()) {
            self::ring($pdo);
        }
        return $id;
    }

    /**
     * Tells how far the job is that runs: so much of so much. Others see it once it is committed.
     *
     * @param PDO|null $pdo the database of the jobs; with SQLite the worker tells which, and it may be left out
     */
    public static function progress(int $done, int $of, ?PDO $pdo = null): void
    {
        [$id, $attempt] = self::current();
        self::change(
            $pdo ?? self::own(),
            "UPDATE fcgi_jobs SET progress = ?, progress_of = ? WHERE id = ? AND attempt = ? AND state = 'running'",
            [$done, $of, $id, $attempt],
        );
    }

    /**
     * Marks the job that runs as done, within the transaction that holds its effects: both are committed, or neither.
     *
     * Whatever happens to this script, its worker or the network afterwards, the job is not run again. Call it first in
     * the transaction: with SQLite a transaction that has read before may find that it can no longer write.
     *
     * @throws LogicException   if there is no transaction, or this script does not run as a job
     * @throws RuntimeException if the job was given to another attempt meanwhile: roll back, for that one has the effects
     */
    public static function complete(PDO $pdo): void
    {
        if (!$pdo->inTransaction()) {
            throw new LogicException('begin a transaction first: it is to hold the effects of the job and its end');
        }
        [$id, $attempt] = self::current();
        $now = self::now($pdo);
        $done = self::change(
            $pdo,
            "UPDATE fcgi_jobs SET finished = $now, state = 'done' WHERE id = ? AND attempt = ? AND state = 'running'",
            [$id, $attempt],
        );
        if ($done !== 1) {
            throw new RuntimeException("attempt $attempt no longer holds job $id: roll back");
        }
    }

    /** Wakes workers after a commit; they look by themselves within a second. With SQLite only; servers do it themselves. */
    public static function ring(PDO $pdo): void
    {
        if ($pdo->getAttribute(PDO::ATTR_DRIVER_NAME) !== 'sqlite') {
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
            throw new LogicException('give the PDO of the database of the jobs');
        }
        return self::$own ??= new PDO($dsn);
    }

    /** @param list<mixed> $parameters */
    private static function change(PDO $pdo, string $statement, array $parameters): int
    {
        $prepared = $pdo->prepare($statement);
        $prepared->execute($parameters);
        return $prepared->rowCount();
    }

    private static function now(PDO $pdo): string
    {
        $driver = $pdo->getAttribute(PDO::ATTR_DRIVER_NAME);
        return match ($driver) {
            'sqlite' => "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
            'pgsql' => '(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint))',
            'mysql' => '(CAST(unix_timestamp(now(6)) * 1000 AS signed))',
            default => throw new InvalidArgumentException("there are no durable jobs in $driver"),
        };
    }
}
