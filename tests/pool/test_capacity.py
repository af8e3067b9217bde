"""Where the bound comes from."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fcgi_async import ConfigurationError, Endpoint
from fcgi_async.pool.capacity import reserve_for_the_site, share_of

POOL = """\
[global]
process_control_timeout = 60
[shop]
listen = /run/php/shop.sock
pm = static
pm.max_children = 10
"""


@pytest.mark.parametrize(
    ("workers", "processes", "reserve"), [(1, 1, 0), (2, 1, 1), (4, 1, 1), (5, 1, 2), (10, 1, 3), (4, 4, 0)]
)
def test_a_quarter_is_left_to_the_site(workers: int, processes: int, reserve: int) -> None:
    """A quarter, rounded up, is left, but never the last worker of one of our processes."""
    assert reserve_for_the_site(workers, processes) == reserve
    assert share_of(workers, reserve, processes) >= 1


def test_more_processes_than_workers() -> None:
    """Processes that cannot all have a worker are refused."""
    with pytest.raises(ConfigurationError, match="5 processes cannot share 4"):
        reserve_for_the_site(4, 5)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "fpm.conf"
    path.write_text(POOL)
    return path


def test_endpoint_from_configuration(conf: Path) -> None:
    """Address, workers and reserve come from the file; what it does not tell stays as it is without it."""
    endpoint = Endpoint.from_fpm_config(conf, "shop")
    assert (str(endpoint.address), endpoint.max_children, endpoint.reserve, endpoint.share) == (
        "unix:///run/php/shop.sock",
        10,
        3,
        7,
    )
    assert (endpoint.linger, endpoint.status) == (None, None)


def test_status_page(conf: Path) -> None:
    """The status page is asked where status_listen says, and otherwise where the pool listens."""
    more = "pm.status_path = /fpm\npm.status_listen = /run/php/status.sock\n"
    conf.write_text(POOL + more)
    endpoint = Endpoint.from_fpm_config(conf, "shop")
    assert endpoint.status is not None
    assert (str(endpoint.status.address), endpoint.status.path) == ("unix:///run/php/status.sock", "/fpm")
    conf.write_text(POOL + "pm.status_path = /fpm\n")
    endpoint = Endpoint.from_fpm_config(conf, "shop")
    assert endpoint.status is not None
    assert endpoint.status.address == endpoint.address


def test_how_long_a_script_may_run_is_no_linger(conf: Path) -> None:
    """A minute that FPM grants its scripts is no minute that a slot waits for one of them unless that is asked for."""
    conf.write_text(POOL + "request_terminate_timeout = 60s\n")
    assert Endpoint.from_fpm_config(conf, "shop").linger is None
    assert Endpoint.from_fpm_config(conf, "shop", linger=60).linger == 60


def test_prefix_and_environment(tmp_path: Path) -> None:
    """What the file does not tell can be given."""
    conf = tmp_path / "fpm.conf"
    conf.write_text("[shop]\nlisten = run/$pool.sock\npm = static\npm.max_children = ${MAX}\n")
    endpoint = Endpoint.from_fpm_config(conf, prefix="/opt/php", environ={"MAX": "8"})
    assert (str(endpoint.address), endpoint.max_children) == ("unix:///opt/php/run/shop.sock", 8)


def test_what_is_given_goes_first(conf: Path) -> None:
    """Arguments win over the file."""
    endpoint = Endpoint.from_fpm_config(conf, "shop", reserve=0, processes=2, linger=1.0, root="/srv", max_children=8)
    assert (endpoint.share, endpoint.linger, endpoint.root) == (4, 1.0, "/srv")
    # a quarter of what is given, not of what the file says
    assert Endpoint.from_fpm_config(conf, "shop", max_children=2).share == 1


def test_warnings_are_logged(conf: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Settings that break promises are logged with the file and the pool."""
    with caplog.at_level(logging.WARNING, "fcgi_async"):
        Endpoint.from_fpm_config(conf, "shop")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith(f"{conf}: pool 'shop': request_terminate_timeout = 0")
