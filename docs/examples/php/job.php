<?php
// The PHP side of a job: copy this file beside your scripts. docs/php-side.md explains it.
//
//     require __DIR__ . '/job.php';
//     Job::run(function (Job $job): mixed {
//         foreach ($job->input['rows'] as $n => $row) {
//             $job->progress(['row' => $n]);
//             import($row);
//         }
//         return ['rows' => count($job->input['rows'])];
//     });
//
// Prints a line of JSON for each report of progress, {"result": ...}, and {"success":true} last of all.
// In Python: Job("import.php", json={...}, success_mark='{"success":true}').

declare(strict_types=1);

/** Thrown from progress() where nobody reads it any more: let it pass, and clean up in `finally`. */
final class CallerGone extends RuntimeException
{
}

final class Job
{
    private bool $answered = false;

    private mixed $answer = null;

    /** @param mixed $input what `Job(json=...)` was given, null where there was no body */
    private function __construct(public readonly mixed $input)
    {
    }

    /**
     * Run the work and answer with what it returns; with a key only once, see docs/php-side.md.
     *
     * @param callable(Job): mixed $work
     * @param ?string $key   names the job among all; runs of the same key exclude each other, and a success is kept
     * @param ?string $store a directory for the keys that survives restarts; all workers can write to it
     */
    public static function run(callable $work, ?string $key = null, ?string $store = null): void
    {
        ini_set('html_errors', '0');
        // PHP would end the script at the first output behind a closed connection, whatever it was about to clean up
        ignore_user_abort(true);
        while (ob_get_level() > 0) {
            ob_end_clean();
        }
        $body = file_get_contents('php://input');
        if (strlen($body) !== (int) ($_SERVER['CONTENT_LENGTH'] ?? 0)) {
            // the caller went, or failed, while it sent the body
            self::refuse(400, sprintf('%d of %d bytes of the body came', strlen($body), $_SERVER['CONTENT_LENGTH']));
            return;
        }
        try {
            $input = $body === '' ? null : json_decode($body, true, 512, JSON_THROW_ON_ERROR);
        } catch (JsonException $error) {
            self::refuse(400, "the body is no JSON: {$error->getMessage()}");
            return;
        }
        $job = new self($input);
        if ($key === null) {
            $job->work($work, null);
            return;
        }
        $record = fopen(($store ?? sys_get_temp_dir()) . '/job-' . hash('sha256', $key), 'c+b');
        if (!flock($record, LOCK_EX | LOCK_NB)) {
            self::refuse(409, 'a job of this key is running');
            return;
        }
        $kept = stream_get_contents($record);
        if ($kept !== '') {
            $job->finish(json_decode($kept, true, 512, JSON_THROW_ON_ERROR));
            return;
        }
        // the lock is let go by the end of the process, whatever ends it
        $job->work($work, $record);
    }

    /**
     * Report progress, a line of JSON that the caller gets now.
     *
     * @throws CallerGone where its connection is closed; over TCP at the second report behind that
     */
    public function progress(mixed $report): void
    {
        if ($this->answered) {
            return;
        }
        $this->line(['progress' => $report]);
        if (connection_aborted()) {
            throw new CallerGone('nobody reads the progress of this job any more');
        }
    }

    /** Answer now and go on: the caller has its response, and the worker stays taken until the work is done. */
    public function finish(mixed $result): void
    {
        if ($this->answered) {
            return;
        }
        $this->line(['result' => $result]);
        $this->line(['success' => true]);
        [$this->answered, $this->answer] = [true, $result];
        if (function_exists('fastcgi_finish_request')) {
            fastcgi_finish_request();
        }
    }

    /** @param ?resource $record where the result is kept */
    private function work(callable $work, $record): void
    {
        try {
            $result = $work($this);
        } catch (CallerGone $gone) {
            error_log($gone->getMessage());
            return;
        }
        if ($record !== null) {
            // before the answer: a success that was told is kept
            fwrite($record, json_encode($this->answered ? $this->answer : $result, JSON_THROW_ON_ERROR));
            fflush($record);
        }
        $this->finish($result);
    }

    private function line(mixed $value): void
    {
        if (!headers_sent()) {
            header('Content-Type: application/x-ndjson');
        }
        echo json_encode($value, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE), "\n";
        flush();
    }

    private static function refuse(int $status, string $why): void
    {
        http_response_code($status);
        header('Content-Type: application/json');
        echo json_encode(['error' => $why]), "\n";
    }
}
