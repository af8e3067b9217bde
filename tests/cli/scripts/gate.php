<?php
// Says that it runs by making the file ?started=, then waits until there is the file ?gate=, for 30 s at most.
touch($_GET['started']);
for ($tries = 0; $tries < 15000 && !file_exists($_GET['gate']); $tries++) {
    usleep(2000);
    clearstatcache();
}
echo strlen(file_get_contents('php://input'));
