<?php
// Prints as many bytes as the query says.
header('Content-Type: application/octet-stream');
$left = (int) $_SERVER['QUERY_STRING'];
$part = str_repeat('x', min($left, 262144));
for (; $left > strlen($part); $left -= strlen($part)) {
    echo $part;
}
echo substr($part, 0, $left);
