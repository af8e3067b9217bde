<?php
// Works for {"milliseconds": N}, and marks in a file when it begins, and for which worker: "ID ATTEMPT WORKER TIME +"
$data = json_decode(file_get_contents('php://input'), true);
$words = [$_SERVER['FCGI_JOB_ID'], $_SERVER['FCGI_JOB_ATTEMPT'], getenv('WORKER'), sprintf('%.3f', microtime(true)), '+'];
file_put_contents($data['marks'], implode(' ', $words) . "\n", FILE_APPEND | LOCK_EX);
usleep(1000 * $data['milliseconds']);
