<?php
// Answers with the request's body as it is.
readfile('php://input');
