<?php

declare(strict_types=1);

use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;
use Symfony\Component\HttpFoundation\BinaryFileResponse;

Route::get('/', fn () => view('home'));
Route::get('/orders/{id}', fn (Request $request, string $id) => [
    'order' => $id,
    'url' => $request->fullUrl(),
    'path' => $request->path(),
    'client' => $request->ip(),
    'secure' => $request->secure(),
    'link' => url('/elsewhere'),
])->name('order');
Route::put('/orders/{id}', fn (Request $request, string $id) => ['order' => $id, 'body' => $request->json()->all()]);
Route::post('/notes', function (Request $request) {
    $request->validate(['note' => 'required']);
    $request->session()->push('notes', $request->input('note'));
    return redirect('/notes');
});
Route::get('/notes', fn (Request $request) => $request->session()->get('notes', []));
Route::post('/pictures', fn (Request $request) => [
    'path' => $request->file('picture')->storeAs('pictures', 'a.png'),
    'bytes' => $request->file('picture')->getSize(),
]);
Route::get('/report', function () {
    BinaryFileResponse::trustXSendfileTypeHeader();
    return response()->download(storage_path('report.bin'), 'report.bin');
});
Route::get('/stream', fn () => response()->stream(function () {
    for ($n = 0; $n < 3; $n++) {
        echo "part $n\n";
        flush();
    }
}, 200, ['Content-Type' => 'text/plain']));
Route::get('/fails', fn () => throw new RuntimeException('a secret'));
Route::get('/after', function () {
    app()->terminating(fn () => touch(storage_path('terminated')));
    return 'before';
});
Route::post('/internal/reindex', function (Request $request) {
    abort_unless($request->server('JOB_TOKEN') === 'from your configuration', 403);
    return ['written' => file_put_contents(storage_path('reindexed'), $request->url())];
});
