"""Find the php-fpm of this machine."""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess

import anyio

from fcgi_async.errors import ConfigurationError

__all__ = ("find_opcache", "find_php_fpm")

# Distributions keep daemons where an ordinary user's PATH does not look.
DAEMON_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin")
# Debian's php-fpm8.2 and Alpine's php-fpm82.
VERSIONED_NAME = re.compile(r"php-fpm(\d)\.?(\d+)")


def find_php_fpm(asked_for: str | None = None) -> str:
    """Find the php-fpm to run.

    It is the first of: `asked_for`, the environment variable PHP_FPM, `php-fpm`, `php-fpm8.x` (newest first).

    Args:
        asked_for: a path, or a name to look for in PATH and the system's directories for daemons.

    Returns:
        The absolute path of an executable file.

    Raises:
        ConfigurationError: no php-fpm was found, or not the one asked for.
    """
    directories = [*os.get_exec_path(), *DAEMON_DIRECTORIES]
    search_path = os.pathsep.join(directories)
    named = asked_for or os.environ.get("PHP_FPM")
    if named:
        if found := shutil.which(named, path=search_path):
            return os.path.abspath(found)
        origin = "" if asked_for else ", which the environment variable PHP_FPM names,"
        raise ConfigurationError(
            f"{named}{origin} is not an executable php-fpm; give the path of one, such as /usr/sbin/php-fpm8.2"
        )
    if found := shutil.which("php-fpm", path=search_path) or newest_versioned(directories):
        return os.path.abspath(found)
    raise ConfigurationError(
        f"no php-fpm found in {search_path}; install it (Debian, Ubuntu: apt-get install php-fpm), "
        "or set the environment variable PHP_FPM to its path"
    )


def newest_versioned(directories: list[str]) -> str | None:
    """The php-fpm8.x with the highest version in these directories, or None."""
    versions: dict[tuple[int, int], str] = {}
    for directory in directories:
        # unlike pathlib's glob, this skips folders that this user may not enter
        for name in glob.glob("php-fpm[0-9]*", root_dir=directory or os.curdir):
            path = os.path.join(directory, name)
            if (match := VERSIONED_NAME.fullmatch(name)) and os.access(path, os.X_OK):
                versions.setdefault((int(match[1]), int(match[2])), path)
    return versions[max(versions)] if versions else None


async def find_opcache(binary: str) -> str | None:
    """Find the opcache extension, which must be loaded explicitly if no php.ini loads it.

    Returns:
        The extension's absolute path, or None if this PHP has none, or has it built in.

    Raises:
        ConfigurationError: the binary cannot be executed.
    """
    try:
        report = await anyio.run_process([binary, "-n", "-i"], check=False, stderr=subprocess.DEVNULL)
    except OSError as error:
        raise ConfigurationError(f"{binary} cannot be executed: {error}") from error
    text = report.stdout.decode(errors="replace")
    directory = re.search(r"^extension_dir => (.+?) =>", text, re.MULTILINE)
    if directory is None or "Zend OPcache" in text:
        return None
    path = anyio.Path(directory[1]) / "opcache.so"
    return str(path) if await path.exists() else None
