<?php
// What the settings named in the query look like from inside: ini_get() of each, and the environment variables asked for.
parse_str($_SERVER['QUERY_STRING'] ?? '', $asked);
header('Content-Type: application/json');
echo json_encode([
    'ini' => array_map('ini_get', array_combine($asked['ini'] ?? [], $asked['ini'] ?? [])),
    'env' => array_map('getenv', array_combine($asked['env'] ?? [], $asked['env'] ?? [])),
    'pid' => getmypid(),
    'opcache' => function_exists('opcache_get_status') && opcache_get_status(false) !== false,
]);
