<?php
// Prints as many bytes as the query says, or for ever.
$left = (int) ($_GET['bytes'] ?? PHP_INT_MAX);
$part = str_repeat('0123456789abcdef', 4096);
while ($left > 0) {
    echo $left >= strlen($part) ? $part : substr($part, 0, $left);
    $left -= strlen($part);
    flush();
}
