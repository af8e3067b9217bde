<?php
// Tells its pid at once, then runs on for as many seconds as the query says.
header('Content-Type: text/plain');
echo getmypid(), "\n";
flush();
usleep((int) (1e6 * (float) ($_SERVER['QUERY_STRING'] ?? '0')));
