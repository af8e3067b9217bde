<?php
// Paints one tile of the Mandelbrot set, and reports it row by row: a character for each pixel.
declare(strict_types=1);

require __DIR__ . '/../php/job.php';

const SHADES = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+';
const INSIDE = '/';
const LIMIT = 420;

function shade(float $cx, float $cy): string
{
    $x = $y = $xx = $yy = 0.0;
    for ($n = 0; $n < LIMIT; $n++) {
        $y = 2.0 * $x * $y + $cy;
        $x = $xx - $yy + $cx;
        $xx = $x * $x;
        $yy = $y * $y;
        if ($xx + $yy > 16.0) {
            return SHADES[(int) (62.0 * (max(0, $n - 40) / LIMIT) ** 0.45)];
        }
    }
    return INSIDE;
}

Job::run(function (Job $job): array {
    ['column' => $column, 'row' => $row, 'width' => $width, 'height' => $height] = $tile = $job->input;
    // a window on the seahorse valley
    $step = 0.0052 / ($tile['columns'] * $width);
    $left = -0.7438 - 0.5 * $step * $tile['columns'] * $width;
    $top = 0.1316 - 0.5 * $step * $tile['rows'] * $height;
    for ($y = 0; $y < $height; $y++) {
        $pixels = '';
        for ($x = 0; $x < $width; $x++) {
            $pixels .= shade($left + $step * ($column * $width + $x), $top + $step * ($row * $height + $y));
        }
        $job->progress(['row' => $y, 'pixels' => $pixels, 'worker' => getmypid()]);
        usleep(1000 * $tile['pace']);
    }
    return ['worker' => getmypid()];
});
