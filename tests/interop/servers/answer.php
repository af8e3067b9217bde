<?php
// The answering script for PHP's own servers. What it does with a request stands in ../server.py.
usleep(1000 * (int) ($_GET['ms'] ?? 0));
$body = file_get_contents('php://input');
if (isset($_GET['stderr'])) {
    error_log($_GET['stderr']);
}
http_response_code((int) ($_GET['status'] ?? 200));
header('Content-Type: text/plain');
header('X-Name: ' . ($_GET['name'] ?? ''));
header('X-Received: ' . strlen($body) . ' ' . md5($body));
echo str_repeat('x', (int) ($_GET['size'] ?? 0));
if (isset($_GET['app_status'])) {
    exit((int) $_GET['app_status']);
}
