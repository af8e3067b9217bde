"""Calls of PHP functions as jobs; fcgi_call.php is PHP's side of them."""
