<?php
// A job on job.php that does what its input says, and marks its stay in the file that the input names.
declare(strict_types=1);

require __DIR__ . '/../../../docs/examples/php/job.php';

function mark(Job $job, string $what): void
{
    $line = sprintf("%.6f %d %s\n", microtime(true), getmypid(), $what);
    file_put_contents($job->input['marks'], $line, FILE_APPEND | LOCK_EX);
}

function wait(string $gate): void
{
    while (!file_exists($gate)) {
        usleep(2000);
        clearstatcache();
    }
}

Job::run(function (Job $job): mixed {
    mark($job, '+');
    try {
        switch ($job->input['do']) {
            case 'report':
                foreach (range(1, 3) as $n) {
                    $job->progress(['row' => $n]);
                    wait("{$job->input['gate']}$n");
                }
                break;
            case 'exit':
                $job->progress('so far');
                exit(1);
            case 'fatal':
                $job->progress('so far');
                nothing_of_this_name();
            case 'memory':
                ini_set('memory_limit', '8M');
                str_repeat('x', 64 << 20);
                break;
            case 'throw':
                throw new RuntimeException('no such row');
            case 'wait':
                wait($job->input['gate']);
                break;
            case 'finish':
                $job->finish('accepted');
                wait($job->input['gate']);
                mark($job, 'late');
                break;
            case 'forever':
                while (true) {
                    $job->progress('still here');
                    usleep(2000);
                }
        }
    } finally {
        mark($job, '-');
    }
    return ['pid' => getmypid(), 'umlaut' => 'ü/'];
}, $_SERVER['HTTP_IDEMPOTENCY_KEY'] ?? null, $_GET['store'] ?? null);
