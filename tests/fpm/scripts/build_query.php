<?php
// What PHP makes of each of many data, without a loss of digits.
ini_set('precision', '-1');
$data = json_decode(file_get_contents('php://input'), true, 512, JSON_THROW_ON_ERROR);
header('Content-Type: application/json');
echo json_encode(array_map(fn (array $one) => http_build_query($one, '', '&'), $data), JSON_THROW_ON_ERROR);
