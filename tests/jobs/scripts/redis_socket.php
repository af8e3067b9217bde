<?php
// Puts one message into a stream of Redis by a plain socket, without any extension. Usage: redis_socket.php HOST:PORT STREAM
[, $server, $stream] = $argv;
$words = ['XADD', $stream, '*', 'message', json_encode(['task' => 'mail', 'data' => ['to' => 'b@example.org']])];
$command = '*' . count($words) . "\r\n";
foreach ($words as $word) {
    $command .= '$' . strlen($word) . "\r\n$word\r\n";
}
$redis = stream_socket_client("tcp://$server", timeout: 2) ?: exit(1);
fwrite($redis, $command);
// an id says that it is stored; an error begins with a minus
$answer = fgets($redis);
if ($answer === false || $answer[0] === '-') {
    fwrite(STDERR, (string) $answer);
    exit(1);
}
