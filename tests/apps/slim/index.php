<?php

declare(strict_types=1);

// Slim 3 is older than PHP 8.2, and deprecations are none of our business here
error_reporting(E_ALL & ~E_DEPRECATED);
require_once 'Slim/autoload.php';

use Slim\Http\Request;
use Slim\Http\Response;

session_start();
$app = new Slim\App(['settings' => ['displayErrorDetails' => false]]);

$app->get('/', function (Request $request, Response $response) {
    $links = '';
    for ($n = 1; $n <= 60; $n++) {
        $links .= "<a href=\"/things/$n?page=" . $n % 7 . "\">$n</a> ";
    }
    return $response->write("<!DOCTYPE html><title>Slim</title>$links<a href=\"/server\">server</a>");
});
$app->get('/things/{id}', function (Request $request, Response $response, array $values) {
    $thing = ['id' => (int) $values['id'], 'query' => $request->getQueryParams(), 'url' => (string) $request->getUri()];
    return $response->withJson($thing)->withHeader('X-Thing', $values['id'])->withAddedHeader('X-Thing', 'twice');
});
// everything that PHP is told of a request, except for the client's port, the time, and what the client and the server
// agree on between them (nginx passes on Connection, which RFC 9110, 7.6.1 forbids)
$app->any('/server', function (Request $request, Response $response) {
    $told = array_filter(
        $_SERVER,
        fn (string $name) => preg_match(
            '/^(?:HTTP(?!_CONNECTION$)|SERVER|REQUEST(?!_TIME)|SCRIPT|DOCUMENT|PATH_|PHP_|QUERY|CONTENT|GATEWAY|AUTH|ORIG|REMOTE_(?!PORT))/',
            $name,
        ),
        ARRAY_FILTER_USE_KEY,
    );
    ksort($told);
    return $response->withJson($told, null, JSON_PRETTY_PRINT);
});
$app->post('/log-in', function (Request $request, Response $response) {
    if ($request->getParsedBodyParam('password') !== 'secret') {
        return $response->withStatus(403)->write('wrong');
    }
    $_SESSION['name'] = $request->getParsedBodyParam('name');
    return $response->withRedirect('/notes');
});
$app->get('/notes', function (Request $request, Response $response) {
    if (!isset($_SESSION['name'])) {
        return $response->withStatus(401)->withHeader('WWW-Authenticate', 'Basic realm="notes"')->write('who?');
    }
    return $response->withJson(['name' => $_SESSION['name'], 'notes' => $_SESSION['notes'] ?? []]);
});
$app->put('/notes/{id}', function (Request $request, Response $response, array $values) {
    $_SESSION['notes'][$values['id']] = $request->getParsedBody();
    return $response->withStatus(201)->withJson($_SESSION['notes']);
});
$app->delete('/notes/{id}', function (Request $request, Response $response, array $values) {
    unset($_SESSION['notes'][$values['id']]);
    return $response->withStatus(204);
});
$app->post('/files', function (Request $request, Response $response) {
    $files = array_map(
        fn ($file) => [$file->getClientFilename(), $file->getSize(), md5((string) $file->getStream())],
        $request->getUploadedFiles(),
    );
    return $response->withJson(['files' => $files, 'fields' => $request->getParsedBody()]);
});
$app->post('/echo', fn (Request $request, Response $response) => $response->write(strrev((string) $request->getBody())));
$app->get('/long', function (Request $request, Response $response) {
    return $response->write(str_repeat("0123456789abcdef\n", 200_000));
});
$app->post('/log-out', function (Request $request, Response $response) {
    session_destroy();
    return $response->withRedirect('/');
});
$app->run();
