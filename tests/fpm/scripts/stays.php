<?php
// Marks its stay, also when its output is refused, and does in between what the query says for so many seconds.
$mark = function (string $what): void {
    file_put_contents($_GET['marks'], sprintf("%.6f %d %s\n", microtime(true), getmypid(), $what), FILE_APPEND | LOCK_EX);
};
register_shutdown_function($mark, '-');
$mark('+');
$end = microtime(true) + (float) ($_GET['seconds'] ?? 0);
switch ($_GET['how'] ?? 'silent') {
    case 'silent':
        usleep((int) (1e6 * max(0, $end - microtime(true))));
        echo 'done';
        break;
    case 'body':
        echo strlen(file_get_contents('php://input'));
        usleep((int) (1e6 * max(0, $end - microtime(true))));
        break;
    case 'finish':
        echo 'answer';
        fastcgi_finish_request();
        usleep((int) (1e6 * max(0, $end - microtime(true))));
        break;
    case 'finish late':
        usleep((int) (1e6 * max(0, $end - microtime(true)) / 2));
        echo 'answer';
        fastcgi_finish_request();
        usleep((int) (1e6 * max(0, $end - microtime(true))));
        break;
    case 'ticks':
        while (microtime(true) < $end) {
            echo '.';
            flush();
            usleep(1000);
        }
        break;
    case 'flood':
        $part = str_repeat('x', 65536);
        while (microtime(true) < $end) {
            echo $part;
        }
        break;
    case 'stubborn':
        ignore_user_abort(true);
        while (microtime(true) < $end) {
            echo '.';
            flush();
            usleep(1000);
        }
        break;
    case 'badhead':
        header('Status: 42');
        header('X-Kept: yes');
        error_log('said');
        echo 'body';
        break;
}
