<?php
// Answers at once, and does afterwards what is due.
ignore_user_abort(true);
fastcgi_finish_request();
require __DIR__ . '/wp-load.php';
usleep(20_000);
