"""Whole configurations, in the forms in which images and panels write them, mean to us what they mean to FPM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fcgi_async import ConfigurationError, PoolConfig, read_pool_config
from fcgi_async.fpm.binary import find_php_fpm

CONFIGURATIONS = Path(__file__).parent / "configurations"
# main file, FPM's prefix where paths are relative, and its pools
FORMS: dict[str, tuple[str, str | None, set[str]]] = {
    "docker-image": ("usr/local/etc/php-fpm.conf", "usr/local", {"www"}),
    "environment": ("usr/local/etc/php-fpm.conf", "usr/local", {"www"}),
    "framework-image": ("usr/local/etc/php-fpm.conf", "usr/local", {"www"}),
    "function-runtime": ("php-fpm.conf", None, {"default"}),
    "hosting-panel": ("etc/php/8.2/fpm/php-fpm.conf", None, {"www", "example.org"}),
    "prefixed": ("fpm/php-fpm.conf", ".", {"first", "Second", "third"}),
    "quoting-panel": ("fpm/php-fpm.conf", None, {"shop.example.org"}),
}
ENVIRON = {
    "FPM_ERROR_LOG": "/proc/self/fd/2",
    "FPM_CONTROL_TIMEOUT": "65s",
    "FPM_PORT": "9000",
    "FPM_PM_CONTROL": "dynamic",
    "FPM_PM_MAX_CHILDREN": "20",
    "FPM_PM_START_SERVERS": "2",
    "FPM_PM_MIN_SPARE_SERVERS": "1",
    "FPM_PM_MAX_SPARE_SERVERS": "3",
    "FPM_PM_MAX_REQUESTS": "1000",
    "FPM_STATUS_PATH": "/status",
    "FPM_TERMINATE_TIMEOUT": "60",
}
each_form = pytest.mark.parametrize("form", FORMS)


def unpack(form: str, directory: Path, line_end: str = "\n") -> Path:
    """Put a configuration, and the folders it speaks of, into a directory; return its main file."""
    shutil.copytree(CONFIGURATIONS / form, directory, dirs_exist_ok=True)
    for path in directory.rglob("*"):
        if path.is_file():
            text = path.read_text().replace("{directory}", str(directory))
            path.write_bytes(text.replace("\n", line_end).encode())
    for folder in ("pools", "runtime", "tmp", "var", "fpm/none"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    return directory / FORMS[form][0]


def as_fpm_reads(main: Path, prefix: Path | None) -> tuple[Path, set[str]]:
    """Return a file with what FPM makes of a configuration, and the pools it has."""
    command = [
        find_php_fpm(),
        "-tt",
        "-n",
        "-y",
        str(main),
        *([] if prefix is None else ["-p", str(prefix)]),
    ]
    result = subprocess.run(
        command, env=os.environ | ENVIRON, capture_output=True, text=True, timeout=30, check=False, errors="replace"
    )
    assert result.returncode == 0, result.stderr
    output = main.with_suffix(".tested")
    output.write_text(result.stderr)
    return output, set(re.findall(r": \[(.+)\]$", result.stderr, re.MULTILINE)) - {"global"}


@each_form
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_same_as_fpm_reads(tmp_path: Path, form: str, line_end: str) -> None:
    """Address, numbers, times and pages of every pool are the same; FPM is told its prefix, we find it."""
    main, (_, prefix, pools) = unpack(form, tmp_path, line_end), FORMS[form]
    tested, found = as_fpm_reads(main, None if prefix is None else tmp_path / prefix)
    assert found == pools
    for pool in pools:
        ours = read_pool_config(main, pool, environ=ENVIRON)
        # a page's relative address stands in FPM's output as in the file
        assert ours == read_pool_config(tested, pool, prefix=tmp_path, environ={})


@each_form
def test_a_prefix_that_is_given(tmp_path: Path, form: str) -> None:
    """A prefix that is given, as text or as a path, is the one that was found."""
    main, (_, prefix, pools) = unpack(form, tmp_path), FORMS[form]
    for pool in pools:
        given = tmp_path / (prefix or ".")
        expected = read_pool_config(main, pool, environ=ENVIRON)
        assert read_pool_config(main, pool, prefix=given, environ=ENVIRON) == expected
        assert read_pool_config(main, pool, prefix=str(given), environ=ENVIRON) == expected


def test_another_prefix(tmp_path: Path) -> None:
    """A prefix that is given goes before what stands beside the file."""
    main = unpack("docker-image", tmp_path)
    other = tmp_path / "opt" / "etc" / "php-fpm.d"
    other.mkdir(parents=True)
    (other / "www.conf").write_text("[www]\nlisten = 9001\npm = static\npm.max_children = 2\n")
    assert read_pool_config(main).max_children == 5
    assert read_pool_config(main, prefix=tmp_path / "opt").max_children == 2
    with pytest.raises(ConfigurationError, match="there is no pool 'www'; there is: none"):
        read_pool_config(main, prefix=tmp_path / "nowhere")


def test_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment that is given, this process's is taken."""
    main = unpack("environment", tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    assert read_pool_config(main) == read_pool_config(main, environ=ENVIRON)
    with pytest.raises(ConfigurationError, match="takes"):
        read_pool_config(main, environ={})


@pytest.mark.parametrize("name", ["FPM_PORT", "FPM_PM_CONTROL", "FPM_PM_MAX_CHILDREN", "FPM_CONTROL_TIMEOUT"])
def test_a_variable_that_is_not_there(tmp_path: Path, name: str) -> None:
    """The error names the setting and the variable; nobody asks for one in a setting that does not matter here."""
    main = unpack("environment", tmp_path)
    environ = {key: value for key, value in ENVIRON.items() if key != name}
    with pytest.raises(ConfigurationError, match=rf"\.conf:\d+: \S+ = .*takes \$\{{{name}\}} .*environ={{'{name}'"):
        read_pool_config(main, environ=environ)


def test_a_variable_with_a_default(tmp_path: Path) -> None:
    """What PHP 8.3 and later take for a variable that is not there, or is empty."""
    path = tmp_path / "fpm.conf"
    path.write_text('[www]\nlisten = 9000\npm = ${PM:-static}\npm.max_children = "${MAX:-7}"\n')
    assert read_pool_config(path, environ={}).max_children == 7
    assert read_pool_config(path, environ={"MAX": ""}).max_children == 7
    assert read_pool_config(path, environ={"MAX": "3"}).max_children == 3


@pytest.mark.parametrize("level", ["debug", "notice"])
def test_what_fpm_prints_at_each_level(tmp_path: Path, level: str) -> None:
    """With log_level = debug FPM's output has another form, and says the same."""
    main = unpack("hosting-panel", tmp_path)
    main.write_text(f"[global]\nlog_level = {level}\n{main.read_text()}")
    tested, pools = as_fpm_reads(main, None)
    assert pools == FORMS["hosting-panel"][2]
    assert ("fpm_conf_dump()" in tested.read_text()) == (level == "debug")
    for pool in pools:
        assert read_pool_config(tested, pool) == read_pool_config(main, pool)


@pytest.mark.parametrize("level", ["warning", "error", "alert"])
def test_what_fpm_does_not_print(tmp_path: Path, level: str) -> None:
    """Above notice FPM prints nothing, as on standard output: the error says that the file is empty, and why."""
    main = unpack("hosting-panel", tmp_path)
    main.write_text(f"[global]\nlog_level = {level}\n{main.read_text()}")
    tested, _ = as_fpm_reads(main, None)
    with pytest.raises(ConfigurationError, match=r"the file is empty; .*2>FILE.*log_level above notice"):
        read_pool_config(tested)


def test_the_only_pool(tmp_path: Path) -> None:
    """Where there is one pool it need not be named; of several www is meant; a name is taken in any case, as by FPM."""
    assert read_pool_config(unpack("function-runtime", tmp_path / "one")).name == "default"
    several = unpack("hosting-panel", tmp_path / "several")
    assert read_pool_config(several).name == "www"
    assert read_pool_config(several, "WWW").name == "www"
    with pytest.raises(ConfigurationError, match=r"no pool 'www'; there is: First, third\."):
        read_pool_config(_written(tmp_path, "[First]\nlisten = 1\n[third]\nlisten = 2\n"))
    with pytest.raises(ConfigurationError, match=r"no pool 'www'; there is: default\."):
        read_pool_config(tmp_path / "one" / "php-fpm.conf", "www")


def _written(directory: Path, text: str) -> Path:
    path = directory / "written.conf"
    path.write_text(text)
    return path


POOL = "[global]\nerror_log = {directory}/log\n[www]\nuser = nobody\npm = static\npm.max_children = 3\n"


@pytest.mark.parametrize(
    "line",
    [
        'listen = "/tmp/a\\"b.sock"',
        'listen = "/tmp/a\\$b\\\\c\\n\\\'.sock"',
        'listen = "/tmp/${FPM_PORT}\\${FPM_PORT}.sock"',
        "listen = '/tmp/${FPM_PORT}.sock'",
        "listen = /tmp/${FPM_PORT}.sock",
        'listen = /tmp/"a"  b',
        'listen = /tmp/"a"  "b"\'c\'',
        'listen = /tmp/"a"  ${FPM_PORT}',
        "listen = /tmp/${FPM_PORT} ${FPM_PORT}",
        "listen = /tmp/a$b",
        'listen = "/tmp/a " ; in quotes',
        "listen = /tmp/a  ; not in quotes",
        "listen = /tmp/a;b",
        "listen = '/tmp/a;b'",
        "listen = /tmp/a\n\tpm.max_requests = on",
        "listen = /tmp/a\npm.status_path = null",
        "listen = /tmp/a\n['www'] ; again\npm.max_children = 9",
        'listen = /tmp/a\n[WWW]\npm.max_children = "9"',
    ],
)
def test_syntax(tmp_path: Path, line: str) -> None:
    """Quotes, escapes, variables and words are FPM's."""
    main = _written(tmp_path, POOL.replace("{directory}", str(tmp_path)) + line + "\n")
    tested, _ = as_fpm_reads(main, None)
    assert _outline(read_pool_config(main, environ=ENVIRON)) == _outline(read_pool_config(tested))


def _outline(config: PoolConfig) -> tuple[object, ...]:
    return config.listen, config.max_children, config.max_requests, config.status_path


def test_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark is no part of the first line."""
    main = _written(tmp_path, "\ufeff" + POOL.replace("{directory}", str(tmp_path)) + "listen = 9000\n")
    tested, _ = as_fpm_reads(main, None)
    assert read_pool_config(main) == read_pool_config(tested)


def test_comments_of_old(tmp_path: Path) -> None:
    """PHP before 7 takes # for a comment too, at the beginning of a line."""
    config = read_pool_config(_written(tmp_path, "# a = b\n[www]\n  #[x]\nlisten=/a#b\npm=static\npm.max_children=3\n"))
    assert str(config.listen) == "unix:///a#b"
