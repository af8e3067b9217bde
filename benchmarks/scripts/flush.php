<?php
// Prints ten bytes so often as the query says, and flushes them each time.
header('Content-Type: application/octet-stream');
for ($left = (int) $_SERVER['QUERY_STRING']; $left > 0; --$left) {
    echo '0123456789';
    flush();
}
