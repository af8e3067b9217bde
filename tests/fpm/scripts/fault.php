<?php
// Marks its stay in the file that the query names, and between the two marks does what the query says.
$mark = function (string $what): void {
    $line = sprintf("%.6f %d %s %s\n", microtime(true), getmypid(), $_GET['name'], $what);
    file_put_contents($_GET['marks'], $line, FILE_APPEND | LOCK_EX);
};
$mark('+');
// fatal errors come here too; workers that are killed do not
register_shutdown_function(fn () => $mark('-'));
usleep((int) (1e6 * (float) ($_GET['seconds'] ?? 0)));
switch ($_GET['do'] ?? '') {
    case 'exhaust memory':
        ini_set('memory_limit', '8M');
        $kept = str_repeat('x', 64 * 1024 * 1024);
        break;
    case 'use up time':
        set_time_limit(1);
        while (true);
    case 'exit':
        exit(1);
    case 'throw':
        throw new RuntimeException('thrown on purpose');
    case 'kill itself':
        exec('kill -9 ' . getmypid());
        break;
    case 'print for ever':
        ignore_user_abort(false);
        while (true) {
            echo str_repeat('0123456789abcdef', 4096);
            flush();
        }
    case 'sleep until told':
        while (!file_exists($_GET['gate'])) {
            usleep(2000);
            clearstatcache();
        }
        break;
    case 'finish early':
        echo $_GET['name'];
        fastcgi_finish_request();
        usleep((int) (1e6 * (float) ($_GET['stay'] ?? 0.005)));
        echo 'LATE OUTPUT OF ' . $_GET['name'];
        flush();
        exit;
}
echo $_GET['name'];
