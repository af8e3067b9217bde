<?php
// What PHP sees of a request.
header('Content-Type: application/json');
echo json_encode([
    'server' => $_SERVER,
    'get' => $_GET,
    'post' => $_POST,
    'files' => array_map(
        fn (array $file) => ['name' => $file['name'], 'type' => $file['type'], 'size' => $file['size'], 'md5' => md5_file($file['tmp_name'])],
        $_FILES
    ),
    'length' => strlen(file_get_contents('php://input')),
    'md5' => md5_file('php://input'),
    'pid' => getmypid(),
], JSON_INVALID_UTF8_SUBSTITUTE);
