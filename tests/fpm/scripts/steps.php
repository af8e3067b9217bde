<?php
// Prints a line at a time; each waits for the file that the reader of the line before makes.
for ($step = 0; $step < 4; $step++) {
    echo json_encode(['step' => $step]), "\n";
    flush();
    while ($step < 3 && !file_exists("{$_GET['directory']}/$step")) {
        usleep(2000);
        clearstatcache();
    }
}
