"""Finding php-fpm on the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm import LocalFPM, binary
from fcgi_async.fpm.binary import find_php_fpm


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PHP_FPM", raising=False)
    monkeypatch.setattr(binary, "DAEMON_DIRECTORIES", ())
    return tmp_path


def install(path: Path) -> str:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_newest_version_wins(folder: Path) -> None:
    """Of several versioned names the newest is taken, by number and not by letter."""
    for name in ("php-fpm8.2", "php-fpm8.9", "php-fpm7.4", "php-fpm8.x", "php-fpm-helper"):
        install(folder / name)
    newest = install(folder / "php-fpm8.10")
    assert find_php_fpm() == newest


def test_plain_name_before_versions(folder: Path) -> None:
    """The machine's default, `php-fpm`, is taken before any version of it."""
    install(folder / "php-fpm8.4")
    plain = install(folder / "php-fpm")
    assert find_php_fpm() == plain


def test_variable_before_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PHP_FPM is taken before everything found, and what the caller asks for before that."""
    install(folder / "php-fpm")
    chosen, asked_for = install(folder / "chosen"), install(folder / "asked-for")
    monkeypatch.setenv("PHP_FPM", chosen)
    assert find_php_fpm() == chosen
    assert find_php_fpm("asked-for") == asked_for


def test_daemon_directories(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """php-fpm is found where PATH does not look but distributions put it."""
    daemons = folder / "sbin"
    daemons.mkdir()
    installed = install(daemons / "php-fpm8.2")
    monkeypatch.setattr(binary, "DAEMON_DIRECTORIES", (str(daemons),))
    assert find_php_fpm() == installed


# looks as a user to whom folders can be forbidden, which root is not
LOOK = """\
import os
from fcgi_async.fpm import binary
binary.DAEMON_DIRECTORIES = ()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(binary.find_php_fpm())
"""


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_folders_one_may_not_enter(tmp_path: Path, mode: int) -> None:
    """A folder in PATH that this user may not enter, or not read, is passed over; so is one within such a folder."""
    with tempfile.TemporaryDirectory() as outside:
        os.chmod(outside, 0o755)
        closed, opened = Path(outside, "closed"), Path(outside, "opened")
        for folder in (closed, closed / "within", opened):
            folder.mkdir()
            installed = install(folder / "php-fpm8.2")
        closed.chmod(mode)
        environ = os.environ | {"PATH": f"{closed}:{closed}/within:{opened}"}
        environ.pop("PHP_FPM", None)
        command = [sys.executable, "-c", LOOK]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
        closed.chmod(0o755)
    found = str(closed / "within" / "php-fpm8.2") if mode == 0o111 else installed
    assert (done.stdout.strip(), done.stderr) == (found, "")


def test_what_is_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, and nothing at all, in the place of a folder of PATH are passed over."""
    (folder / "file").touch()
    installed = install(folder / "php-fpm8.2")
    monkeypatch.setenv("PATH", f"{folder}/file:{folder}/none:{folder}/file/within:{folder}")
    assert find_php_fpm() == installed


def test_nothing_found(folder: Path) -> None:
    """Where there is no php-fpm the error says what to install."""
    (folder / "php-fpm8.2").write_text("not executable")
    with pytest.raises(ConfigurationError, match="apt-get install php-fpm"):
        find_php_fpm()


def test_variable_names_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong PHP_FPM is an error that names the variable, not a reason to take another one."""
    install(folder / "php-fpm")
    monkeypatch.setenv("PHP_FPM", "/nowhere/php-fpm")
    with pytest.raises(ConfigurationError, match="/nowhere/php-fpm, which the environment variable PHP_FPM names"):
        find_php_fpm()


@pytest.mark.anyio
async def test_missing_binary(anyio_backend: object) -> None:
    """A LocalFPM told to run a php-fpm that is not there says so on entering."""
    with pytest.raises(ConfigurationError, match="/nowhere/php-fpm is not an executable php-fpm"):
        await LocalFPM(binary="/nowhere/php-fpm").__aenter__()


@pytest.mark.anyio
async def test_binary_that_cannot_run(anyio_backend: object, tmp_path: Path) -> None:
    """An executable file that the kernel cannot execute is a ConfigurationError, not a group or an OSError."""
    broken = tmp_path / "php-fpm"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    for system_ini in (True, False):
        with pytest.raises(ConfigurationError, match="php-fpm"):
            await LocalFPM(binary=str(broken), system_ini=system_ini).__aenter__()
