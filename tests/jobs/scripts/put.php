<?php
// Puts jobs in transactions of their own, and rolls a third of them back: php put.php LIBRARY DSN USER COUNT MARKS
[, $library, $dsn, $user, $count, $marks] = $argv;
require $library;
$pdo = new PDO($dsn, $user);
$insert = $pdo->prepare('INSERT INTO fcgi_jobs (task, data) VALUES (?, ?)');
// as many by each way
$ways = [
    fn (array $data) => $insert->execute(['job', json_encode($data)]),
    fn (array $data) => FcgiJobs::enqueue($pdo, 'job', $data),
];
if (str_starts_with($dsn, 'pgsql:')) {
    $function = $pdo->prepare('SELECT fcgi_enqueue(?, ?)');
    $ways[] = fn (array $data) => $function->execute(['job', json_encode($data)]);
}
for ($n = 0; $n < $count; $n++) {
    $pdo->beginTransaction();
    $ways[intdiv($n, 3) % count($ways)](['marks' => $marks, 'body' => "$n"]);
    $n % 3 === 1 ? $pdo->rollBack() : $pdo->commit();
}
