<?php
// The smallest job, and a message on standard error.
error_log('a message for whoever reads the log');
echo 'ok';
