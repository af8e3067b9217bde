"""Which PHP-FPM `run` and `map` use, and what they say when its files are not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM
from fcgi_async.cli import make_parser
from fcgi_async.commands.missing_script import missing_script
from fcgi_async.commands.pool_options import PoolOptions
from tests.cli.conftest import SCRIPTS, RunCommand

ECHO = SCRIPTS / "echo.php"


def test_one_job_needs_no_max_children(command: RunCommand, fpm: LocalFPM) -> None:
    """`run` takes one worker, however many there are; a reserve does not change that."""
    for more in ([], ["--reserve", "3"]):
        result = command("run", ECHO, "--fpm", fpm.address, *more)
        assert (result.code, result.err, json.loads(result.out)["method"]) == (0, "", "GET")


@pytest.mark.parametrize("name", ["run", "map"])
def test_pool_by_its_configuration(command: RunCommand, fpm_here: LocalFPM, name: str) -> None:
    """--fpm-config tells the address and the number of workers."""
    conf = fpm_here.directory / "fpm.conf"
    result = command(name, SCRIPTS / "answer.php", "--fpm-config", conf, "--pool", "www", stdin=b"[7]\n")
    answer = json.loads(result.out)
    assert (result.code, answer["body"] if name == "map" else answer) == (0, [7])


def test_reserve_of_a_configured_pool(fpm_here: LocalFPM) -> None:
    """Without --reserve a quarter is left to others, as such a pool is somebody's; with it as many as it says."""
    for more, reserve, workers in (([], 1, 4), (["--reserve", "0"], 0, 4), (["--max-children", "8"], 2, 8)):
        arguments = ["map", "/a.php", "--fpm-config", str(fpm_here.directory / "fpm.conf"), *more]
        found = PoolOptions.parse(make_parser().parse_args(arguments))
        assert (found.address, found.reserve, found.max_children) == (fpm_here.address, reserve, workers)
        assert found.status is not None
        assert str(found.status.address) == fpm_here.status_address


def test_script_that_only_we_see(command: RunCommand, fpm_portal: BlockingPortal, tmp_path: Path) -> None:
    """With a chroot the path is another one, and the error says that it is PHP-FPM's view."""
    (tmp_path / "root").mkdir()
    script = tmp_path / "here.php"
    script.write_text("<?php echo 1;")
    settings = {"chroot": str(tmp_path / "root")}
    with fpm_portal.wrap_async_context_manager(LocalFPM(max_children=1, system_ini=False, pool=settings)) as fpm:
        alone = command("run", script, "--fpm", fpm.address)
        mapped = json.loads(command("map", script, "--fpm", fpm.address, "--max-children", "1", stdin=b"1").out)
    last = alone.err.splitlines()[-1]
    assert alone.code == 1
    assert f"PHP-FPM found no {script}, although it is here: the path is PHP-FPM's view" in last
    for cause in ("container", "`chroot`", "PrivateTmp"):
        assert cause in last
    assert f"fcgi-async: {mapped['error']}" == last


def test_404_of_a_script_is_no_missing_script(command: RunCommand, pool: list[str]) -> None:
    """A script that answers 404 itself was found."""
    result = command("run", ECHO, "--query", "status=404", *pool)
    assert (result.code, result.err) == (1, "fcgi-async: PHP answered with status 404\n")
    assert missing_script("/a.php", 404, b"PHP message: no such order") == ""


def test_private_tmp_is_for_scripts_in_tmp() -> None:
    """PrivateTmp is named for a script that lies there, and for no other."""
    unknown = b"Primary script unknown"
    assert "PrivateTmp" not in missing_script("/bin/sh", 404, unknown)
    assert "container" in missing_script("/bin/sh", 404, unknown)
