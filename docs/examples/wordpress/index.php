<?php
// The front page's entry point: posts by permalink or by number.
require __DIR__ . '/wp-load.php';

$path = trim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/');
echo isset($_GET['p']) ? "post {$_GET['p']}" : 'post ' . basename($path);
