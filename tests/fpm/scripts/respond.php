<?php
// Answers as the query says: a status, headers, a body, compressed or not, a line of log.
http_response_code((int) ($_GET['status'] ?? 200));
foreach ($_GET['headers'] ?? [] as $header) {
    header($header, false);
}
if (isset($_GET['log'])) {
    error_log($_GET['log']);
}
if ($_GET['compress'] ?? false) {
    ini_set('zlib.output_compression', '1');
}
echo $_GET['body'] ?? '';
