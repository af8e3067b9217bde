<?php
// Prints what the query says, and no more.
echo $_GET['print'];
if (isset($_GET['exit'])) {
    exit((int) $_GET['exit']);
}
