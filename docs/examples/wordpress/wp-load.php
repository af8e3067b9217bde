<?php
// What every entry point loads: here only the site's address, and the redirect of visitors who used another.
const SITE_URL = 'https://blog.example';

$scheme = ($_SERVER['HTTPS'] ?? '') === 'on' ? 'https' : 'http';
if ("$scheme://{$_SERVER['HTTP_HOST']}" !== SITE_URL) {
    header('Location: ' . SITE_URL . $_SERVER['REQUEST_URI'], true, 301);
    exit;
}
