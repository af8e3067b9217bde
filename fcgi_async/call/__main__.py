"""`python -m fcgi_async.call FOLDER` copies fcgi_call.php into a folder; without a folder it prints the file's path."""

from __future__ import annotations

import sys
from pathlib import Path

from fcgi_async.call.php_file import PHP_FILE, copy_php_file

if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit("usage: python -m fcgi_async.call [FOLDER]")
    try:
        print(copy_php_file(Path(sys.argv[1])) if sys.argv[1:] else PHP_FILE)
    except OSError as error:
        sys.exit(f"fcgi_call.php cannot be copied: {error}")
