"""Copy a PHP file of the package beside the script that requires it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

__all__ = ("PHP_FILE", "offer_php_file")

PHP_FILE = Path(__file__).parent / "fcgi_call.php"


def offer_php_file(file: Path, module: str) -> None:
    """Copy a file into the folder that the command line names; print the copy's path, or the file's without a folder.

    Args:
        file: the file.
        module: the module that is run, for the usage.
    """
    arguments = sys.argv[1:]
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        sys.exit(f"usage: python -m {module} [FOLDER]")
    try:
        print(shutil.copyfile(file, Path(arguments[0]) / file.name) if arguments else file)
    except OSError as error:
        sys.exit(f"{file.name} cannot be copied: {error}")
