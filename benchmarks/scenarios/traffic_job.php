<?php
// Works for some milliseconds, and notes when it began and ended, and for whom.
$note = function (string $what): void {
    file_put_contents($_GET['log'], sprintf("%.6f %s %s\n", microtime(true), $what, $_GET['key']), FILE_APPEND | LOCK_EX);
};
$note('+');
usleep(1000 * (int) $_GET['ms']);
$note('-');
echo $_GET['key'];
