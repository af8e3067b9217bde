<?php
// Answers, and goes on: what it prints then belongs to nobody. Marks its stay in the file that the query names.
$mark = function (string $what): void {
    file_put_contents($_GET['marks'], sprintf("%.6f %d %s\n", microtime(true), getmypid(), $what), FILE_APPEND | LOCK_EX);
};
$mark('+');
echo 'answer of ' . $_GET['name'];
fastcgi_finish_request();
usleep((int) (1e6 * (float) $_GET['seconds']));
echo 'SECRET of ' . $_GET['name'];
error_log('SECRET log of ' . $_GET['name']);
flush();
$mark('-');
