<?php
// Tells its pid, then goes on only when the file that the query names is there.
echo getmypid(), "\n";
flush();
while (!file_exists($_GET['gate'])) {
    usleep(2000);
    clearstatcache();
}
echo "done\n";
