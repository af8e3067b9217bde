<?php
// Marks its stay in the file that the query names, and tells its pid.
$mark = function (string $what): void {
    file_put_contents($_GET['marks'], sprintf("%.6f %d %s\n", microtime(true), getmypid(), $what), FILE_APPEND | LOCK_EX);
};
$mark('+');
usleep((int) (1e6 * (float) ($_GET['seconds'] ?? 0)));
$mark('-');
echo getmypid();
