"""`python -m fcgi_async.call FOLDER` copies fcgi_call.php into a folder; without a folder it prints the file's path."""

from __future__ import annotations

from fcgi_async.call.php_file import PHP_FILE, offer_php_file

if __name__ == "__main__":
    offer_php_file(PHP_FILE, "fcgi_async.call")
