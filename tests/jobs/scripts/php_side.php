<?php
// Does with FcgiJobs what its data says: {"library": FILE, "dsn": "..", "do": "enqueue" | "progress" | "complete", ...}
$data = json_decode(file_get_contents('php://input'), true);
require $data['library'];
$pdo = new PDO($data['dsn']);
$say = fn (mixed $what) => print json_encode($what);
try {
    switch ($data['do']) {
        case 'enqueue':
            $say(FcgiJobs::enqueue($pdo, ...$data['arguments']));
            break;
        case 'transaction':
            $pdo->beginTransaction();
            $pdo->exec('CREATE TABLE IF NOT EXISTS orders (number INTEGER)');
            $pdo->exec('INSERT INTO orders VALUES (7)');
            FcgiJobs::enqueue($pdo, ...$data['arguments']);
            $data['commit'] ? $pdo->commit() : $pdo->rollBack();
            break;
        case 'progress':
            FcgiJobs::progress(3, 10);
            while (isset($data['gate']) && !file_exists($data['gate'])) {
                usleep(2000);
                clearstatcache();
            }
            break;
        case 'complete':
            while (isset($data['gate']) && !file_exists($data['gate'])) {
                touch($data['gate'] . '.waits');
                usleep(2000);
                clearstatcache();
            }
            $pdo->beginTransaction();
            FcgiJobs::complete($pdo);
            $pdo->exec("INSERT INTO effects VALUES ('{$_SERVER['FCGI_JOB_ID']}')");
            $pdo->commit();
            if (isset($data['status'])) {
                http_response_code($data['status']);
            }
            break;
        case 'misuse':
            FcgiJobs::complete($pdo);
    }
} catch (Throwable $error) {
    http_response_code(500);
    $say(get_class($error) . ': ' . $error->getMessage());
}
