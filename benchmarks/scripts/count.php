<?php
// Reads the body in pieces, and prints how many bytes it has.
$body = fopen('php://input', 'rb');
$count = 0;
while (($part = fread($body, 65536)) !== false && $part !== '') {
    $count += strlen($part);
}
echo $count;
