"""Copy PHP's side of calls beside the script that requires it."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ("PHP_FILE", "copy_php_file")

PHP_FILE = Path(__file__).parent / "fcgi_call.php"


def copy_php_file(folder: Path) -> Path:
    """Copy fcgi_call.php into a folder and return the copy.

    Raises:
        OSError: the file cannot be written there.
    """
    return Path(shutil.copyfile(PHP_FILE, folder / PHP_FILE.name))
