"""`python -m fcgi_async.jobs FOLDER` copies fcgi_jobs.php into a folder; without a folder it prints the file's path."""

from __future__ import annotations

from pathlib import Path

from fcgi_async.call.php_file import offer_php_file

if __name__ == "__main__":
    offer_php_file(Path(__file__).parent / "fcgi_jobs.php", "fcgi_async.jobs")
