<?php
// Writes 16 MiB, whether anybody reads or not.
for ($part = 0; $part < 256; $part++) {
    echo str_repeat('x', 65536);
}
