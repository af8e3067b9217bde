<?php
// A front controller, as a framework has one: everything is decided by the request's target.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (!preg_match('~^/orders/(\d+)$~', $path, $found)) {
    http_response_code(404);
    exit("no route for $path");
}
header('Content-Type: application/json');
echo json_encode([
    'order' => (int) $found[1],
    'query' => $_GET,
    'path_info' => $_SERVER['PATH_INFO'] ?? null,
    'script_name' => $_SERVER['SCRIPT_NAME'],
    'script_filename' => $_SERVER['SCRIPT_FILENAME'],
    'method' => $_SERVER['REQUEST_METHOD'],
]);
