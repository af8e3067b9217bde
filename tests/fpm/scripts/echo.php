<?php
// Gives the body back while it is still being read.
header('Content-Type: application/octet-stream');
$body = fopen('php://input', 'rb');
while (($part = fread($body, 65536)) !== false && $part !== '') {
    echo $part;
}
