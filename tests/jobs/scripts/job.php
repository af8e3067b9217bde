<?php
// Does what its data says: {"marks": FILE, "milliseconds": N, "status": N, "headers": [..], "body": "..", "gate": FILE, "log": ".."}
$data = json_decode(file_get_contents('php://input'), true);
$mark = function (string $what) use ($data): void {
    if (isset($data['marks'])) {
        file_put_contents($data['marks'], "{$_SERVER['FCGI_JOB_ID']} {$_SERVER['FCGI_JOB_ATTEMPT']} $what\n", FILE_APPEND | LOCK_EX);
    }
};
$mark('+');
usleep(1000 * ($data['milliseconds'] ?? 0));
while (isset($data['gate']) && !file_exists($data['gate'])) {
    usleep(2000);
    clearstatcache();
}
if (isset($data['log'])) {
    error_log($data['log']);
}
http_response_code($data['status'] ?? 200);
foreach ($data['headers'] ?? [] as $header) {
    header($header);
}
echo $data['body'] ?? json_encode([
    'data' => $data,
    'id' => $_SERVER['FCGI_JOB_ID'],
    'attempt' => $_SERVER['FCGI_JOB_ATTEMPT'],
    'task' => $_SERVER['FCGI_JOB_TASK'],
    'query' => $_SERVER['QUERY_STRING'],
    'method' => $_SERVER['REQUEST_METHOD'],
    'type' => $_SERVER['CONTENT_TYPE'],
    'trace' => $_SERVER['HTTP_TRACEPARENT'] ?? null,
]);
$mark('-');
