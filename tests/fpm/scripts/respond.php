<?php
// Answers as the query says: a status, headers, a body, a line of log.
http_response_code((int) ($_GET['status'] ?? 200));
foreach ($_GET['headers'] ?? [] as $header) {
    header($header, false);
}
if (isset($_GET['log'])) {
    error_log($_GET['log']);
}
echo $_GET['body'] ?? '';
