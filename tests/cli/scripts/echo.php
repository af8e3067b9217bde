<?php
// Answers with what it was asked; ?status= sets the status, ?stderr= is logged, ?type= is the answer's.
http_response_code((int) ($_GET['status'] ?? 200));
header('Content-Type: ' . ($_GET['type'] ?? 'application/json'));
header('X-Twice: 1');
header('X-Twice: 2', false);
if (isset($_GET['stderr'])) {
    error_log($_GET['stderr']);
}
echo json_encode([
    'method' => $_SERVER['REQUEST_METHOD'],
    'uri' => $_SERVER['REQUEST_URI'],
    'type' => $_SERVER['CONTENT_TYPE'] ?? null,
    'header' => $_SERVER['HTTP_X_ASKED'] ?? null,
    'param' => $_SERVER['ASKED'] ?? null,
    'body' => file_get_contents('php://input'),
]);
