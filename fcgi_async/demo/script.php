<?php
// One job of the demo: count, hash and compress the file that is the request's body.
$started = hrtime(true);
$content = file_get_contents('php://input');
header('Content-Type: application/json');
echo json_encode([
    'bytes' => strlen($content),
    'lines' => substr_count($content, "\n"),
    'words' => preg_match_all('/[^ \t\n\r\x0b\f]+/', $content),
    'sha256' => hash('sha256', $content),
    'compressed' => strlen(gzcompress($content, 6)),
    'pid' => getmypid(),
    'started' => $started,
    'ended' => hrtime(true),
], JSON_THROW_ON_ERROR);
