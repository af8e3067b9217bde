"""FPM's configuration, read as FPM reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest

from fcgi_async import ConfigurationError, LocalFPM, PoolConfig, read_pool_config
from fcgi_async.fpm.binary import find_php_fpm
from fcgi_async.net.address import Address

GLOBAL = "[global]\nerror_log = {directory}/log\nprocess_control_timeout = 1m\n"
POOL = "[www]\nlisten = {directory}/$pool.sock\nuser = nobody\npm = static\npm.max_children = 3\n"


def write(directory: Path, text: str, name: str = "fpm.conf") -> Path:
    path = directory / name
    path.write_text(text.replace("{directory}", str(directory)))
    return path


def as_fpm_reads(path: Path) -> Path:
    """Return a file with what FPM itself makes of a configuration."""
    result = subprocess.run(
        [find_php_fpm(), "-tt", "-y", path], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr
    output = path.with_suffix(".tested")
    output.write_text(result.stderr)
    return output


FORMS = [
    "",
    "listen.backlog = 64",
    "listen.backlog = -1",
    "pm.max_children = 7",
    "pm.max_requests = 500 ; a comment",
    "request_terminate_timeout = 90",
    "request_terminate_timeout = 90s",
    "request_terminate_timeout = 2m",
    "request_terminate_timeout = 1h",
    "request_terminate_timeout = 1d",
    "request_terminate_timeout = 1.5s",
    "request_terminate_timeout = -1",
    "PM.Max_Requests = 4",
    "pm = Static",
    "pm.status_path = /status-$pool",
    "prefix = {directory}\nlisten = run.sock",
    "pm.status_path = /status",
    'listen = "{directory}/a;b.sock" ; not here',
    "pm.status_path = '/quoted'",
    "pm.status_path=/close",
    "pm.status_path = /status\npm.status_listen = {directory}/status.sock",
    "pm.status_path = /status\npm.status_listen = 127.0.0.1:9201",
    "ping.path = /ping\nphp_admin_value[memory_limit] = 1G\nenv[A] = b",
    "listen = 9000",
    "listen = 127.0.0.1:9000\nlisten.allowed_clients = 127.0.0.1, 10.0.0.1",
    "listen = *:9000",
    "listen = [::1]:9000",
    "  listen = {directory}/indented.sock  ",
    "; listen = 9000\n\n;",
    "pm.max_children = 4\npm.max_children = 5",
    "pm = dynamic\npm.start_servers = 1\npm.min_spare_servers = 1\npm.max_spare_servers = 2",
    "pm = ondemand",
]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_as_fpm_reads(tmp_path: Path, form: str) -> None:
    """Each form of a setting means to us what it means to FPM."""
    path = write(tmp_path, GLOBAL + POOL + form + "\n")
    assert read_pool_config(path) == read_pool_config(as_fpm_reads(path))


def test_included_files(tmp_path: Path) -> None:
    """Files that are included count as if they stood there; what comes later wins, and a pool may be in several."""
    (tmp_path / "pools").mkdir()
    write(tmp_path, POOL, "pools/a.conf")
    write(tmp_path, POOL.replace("www", "second") + "[www]\npm.max_children = 9\n", "pools/b.conf")
    path = write(tmp_path, GLOBAL + "include = {directory}/pools/*.conf\ninclude={directory}/*.none\n")
    assert read_pool_config(path) == read_pool_config(as_fpm_reads(path))
    assert read_pool_config(path).max_children == 9
    assert read_pool_config(path, "second") == read_pool_config(as_fpm_reads(path), "second")


def test_a_pool_file_alone(tmp_path: Path) -> None:
    """A pool's own file tells nothing of [global], and nothing is claimed of it."""
    config = read_pool_config(write(tmp_path, POOL))
    assert (config.name, config.max_children, config.process_control_timeout) == ("www", 3, None)
    assert str(config.listen) == f"unix://{tmp_path}/www.sock"


def test_what_runs(fpm_here: LocalFPM) -> None:
    """The configuration of an FPM that runs tells where it listens and how many workers it has."""
    config = read_pool_config(fpm_here.directory / "fpm.conf")
    assert (str(config.listen), config.max_children) == (fpm_here.address, fpm_here.max_children)
    assert str(config.status_listen) == fpm_here.status_address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            POOL.replace("www", "b") + POOL.replace("www", "a"),
            r"there is no pool 'www'; there is: a, b\. Name .* pool=,",
        ),
        ("; nothing\n", r"there is no pool 'www'; there is: none"),
        (POOL.replace("pm.max_children = 3", ""), r"has no 'pm.max_children'"),
        (POOL.replace("= 3", "= three"), r"fpm.conf:5: pm.max_children = three is not a whole number"),
        (POOL + "request_terminate_timeout = soon\n", r"fpm.conf:6: .* is not a time"),
        (POOL + "listen = run/www.sock\n", r"fpm.conf:6: .* is relative to the prefix"),
        (
            POOL + "include = pool.d/*.none\n",
            r"fpm.conf:6: .* is relative to the prefix.*give prefix=, such as /usr/local",
        ),
        (POOL + "include = {directory}/fpm.conf\n", r"goes deeper than 5 files"),
        (POOL + "listen = ${SOCKET}\n", r"from FPM's environment"),
        (POOL + "what is this\n", r"fpm.conf:6: 'what is this' is neither"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    """The error names the file, the line, and what to do."""
    with pytest.raises(ConfigurationError, match=message):
        read_pool_config(write(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is told."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_pool_config(tmp_path / "none.conf")


SOUND = PoolConfig(
    name="www",
    listen=Address.parse("tcp://127.0.0.1:9000"),
    pm="static",
    max_children=8,
    backlog=511,
    request_terminate_timeout=20,
    process_control_timeout=30,
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"process_control_timeout": None}, []),
        ({"process_control_timeout": 0}, ["process_control_timeout = 0, so a reload"]),
        ({"request_terminate_timeout": 0}, ["request_terminate_timeout = 0, so a script that hangs"]),
        ({"process_control_timeout": 10}, ["is shorter than request_terminate_timeout = 20s"]),
        ({"backlog": 7}, ["listen.backlog = 7 is less than pm.max_children = 8"]),
        ({"backlog": None}, []),
        ({"status_path": "/status"}, ["pm.status_listen is not"]),
        ({"status_path": "/status", "status_listen": SOUND.listen}, []),
    ],
    ids=str,
)
def test_warnings(change: dict[str, Any], words: list[str]) -> None:
    """A setting that breaks a promise is named, with the pool and what to write; others are not spoken of."""
    warnings = attrs.evolve(SOUND, **change).warnings()
    assert len(warnings) == len(words)
    for warning, word in zip(warnings, words, strict=True):
        assert word in warning
        assert warning.startswith("pool 'www': ")
        assert "set " in warning
