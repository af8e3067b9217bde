<?php
// A job of some milliseconds: it appends its id to a file, so that one can count how often it ran.
['marks' => $marks] = json_decode(file_get_contents('php://input'), true);
usleep(2000);
file_put_contents($marks, "{$_SERVER['FCGI_JOB_ID']}\n", FILE_APPEND | LOCK_EX);
