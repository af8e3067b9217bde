<?php
// The smallest job.
echo 'ok';
