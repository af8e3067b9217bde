<?php
// Logs twice, waits until `gate` is there, and logs once more. FPM sends what was logged when output is sent, be it none.
error_log('begun');
trigger_error('careful', E_USER_NOTICE);
flush();
while (!file_exists($_GET['gate'])) {
    usleep(2000);
    clearstatcache();
}
error_log('done');
