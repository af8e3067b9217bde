<?php
// Promises a letter, and writes it once the caller has its answer.
declare(strict_types=1);

require __DIR__ . '/job.php';

Job::run(function (Job $job): void {
    $job->finish("a letter to {$job->input['to']} will be written");
    usleep(100_000);
    file_put_contents("{$job->input['folder']}/{$job->input['to']}", "Dear {$job->input['to']},\n");
});
