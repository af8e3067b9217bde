<?php
// The price of an article; there is none of number 13.
$id = (int) $_GET['id'];
if ($id === 13) {
    http_response_code(404);
    exit;
}
header('Content-Type: application/json');
echo json_encode(['id' => $id, 'cents' => 100 * $id - 1]);
