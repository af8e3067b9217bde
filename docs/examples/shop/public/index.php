<?php
// A front controller, as frameworks have one: it knows its routes, and nothing of files.
declare(strict_types=1);

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$site = ($_SERVER['HTTPS'] ?? '') === 'on' ? "https://{$_SERVER['HTTP_HOST']}" : "http://{$_SERVER['HTTP_HOST']}";

$routes = [
    'POST /api/orders' => function () use ($site): array {
        $order = json_decode(file_get_contents('php://input'), true, 512, JSON_THROW_ON_ERROR);
        return [201, ['article' => $order['article']], "$site/api/orders/1"];
    },
    'GET /api/orders/(\d+)' => fn (string $id): array => [200, ['order' => (int) $id, 'with' => $_GET['with'] ?? null]],
    'DELETE /api/orders/(\d+)' => fn (string $id): array => [204, null],
];

foreach ($routes as $route => $action) {
    if (preg_match("~^$route$~", "{$_SERVER['REQUEST_METHOD']} $path", $found)) {
        [$status, $data, $location] = $action(...array_slice($found, 1)) + [2 => null];
        break;
    }
}
http_response_code($status ?? 404);
header('Content-Type: application/json');
if (isset($location)) {
    header("Location: $location", false, $status);
}
if (isset($data)) {
    echo json_encode($data, JSON_UNESCAPED_SLASHES);
}
