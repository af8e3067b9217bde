<?php
// Adds its name to a file before all else, and stays for as many seconds as the query says.
file_put_contents($_GET['file'], $_GET['name'] . "\n", FILE_APPEND);
usleep((int) (1e6 * (float) $_GET['seconds']));
echo $_GET['name'];
