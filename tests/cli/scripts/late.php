<?php
// The body says how many milliseconds the job takes.
$milliseconds = (int) file_get_contents('php://input');
usleep($milliseconds * 1000);
echo $milliseconds;
