<?php
// Does with FcgiJobs what its data says: {"library": FILE, "dsn": "..", "user": "..", "do": "enqueue" | "progress" | "complete", ...}
$data = json_decode(file_get_contents('php://input'), true);
require $data['library'];
$pdo = new PDO($data['dsn'], $data['user'], null, ($data['found_rows'] ?? false) ? [PDO::MYSQL_ATTR_FOUND_ROWS => true] : []);
$say = fn (mixed $what) => print json_encode($what);
$wait = function (?string $gate): void {
    while ($gate !== null && !file_exists($gate)) {
        touch("$gate.waits");
        usleep(2000);
        clearstatcache();
    }
};
foreach ($data['before'] ?? [] as $statement) {
    $pdo->exec($statement);
}
try {
    switch ($data['do']) {
        case 'enqueue':
            $say(FcgiJobs::enqueue($pdo, ...$data['arguments']));
            break;
        case 'transaction':
            $pdo->beginTransaction();
            $pdo->query('SELECT count(*) FROM fcgi_jobs')->fetchAll();
            $wait($data['snapshot'] ?? null);
            $pdo->exec('INSERT INTO orders VALUES (7)');
            $say(FcgiJobs::enqueue($pdo, ...$data['arguments']));
            $wait($data['gate'] ?? null);
            $data['commit'] ? $pdo->commit() : $pdo->rollBack();
            if ($data['ring'] ?? false) {
                FcgiJobs::ring($pdo);
            }
            break;
        case 'progress':
            $sqlite = str_starts_with($data['dsn'], 'sqlite:');
            FcgiJobs::progress(3, 10, $sqlite ? null : $pdo);
            $wait($data['gate'] ?? null);
            $pdo->beginTransaction();
            FcgiJobs::progress(9, 10, $pdo);
            $data['commit'] ? $pdo->commit() : $pdo->rollBack();
            break;
        case 'complete':
            $wait($data['gate'] ?? null);
            $pdo->beginTransaction();
            FcgiJobs::complete($pdo);
            $pdo->exec("INSERT INTO effects VALUES ('{$_SERVER['FCGI_JOB_ID']}')");
            $data['commit'] ? $pdo->commit() : $pdo->rollBack();
            http_response_code($data['status']);
            break;
        case 'late':
            $pdo->beginTransaction();
            try {
                FcgiJobs::complete($pdo);
            } catch (RuntimeException $error) {
                $say($error->getMessage());
            }
            $wait($data['gate']);
            $pdo->rollBack();
            break;
        case 'misuse':
            FcgiJobs::complete($pdo);
            break;
        case 'astray':
            FcgiJobs::progress(3, 10);
    }
} catch (Throwable $error) {
    http_response_code($data['do'] === 'astray' ? $data['status'] : 500);
    $say(get_class($error) . ': ' . $error->getMessage());
}
