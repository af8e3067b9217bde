<?php
// Squares a number; numbers below 0 are beyond it.
$n = json_decode(file_get_contents('php://input'), true)['n'];
if ($n < 0) {
    exit(1);
}
echo json_encode(['n' => $n, 'square' => $n ** 2, 'worker' => getmypid()]);
