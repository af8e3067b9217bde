<?php
// Writes a first part, and the second part once there is the file ?gate=, for 30 s at most.
echo 'first';
flush();
for ($tries = 0; $tries < 15000 && !file_exists($_GET['gate']); $tries++) {
    usleep(2000);
    clearstatcache();
}
echo 'second';
