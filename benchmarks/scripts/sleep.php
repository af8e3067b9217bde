<?php
// Takes as many microseconds as the query says, without needing the processor.
usleep((int) $_SERVER['QUERY_STRING']);
echo 'ok';
