"""FPM's configuration is found where distributions keep it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fcgi_async import ConfigurationError, Endpoint, PoolConfig
from fcgi_async.fpm import search
from fcgi_async.net.address import Address

# as Debian 12, Red Hat and Fedora, Remi, Alpine and the Docker image have it
PLACES = [
    "etc/php/8.2/fpm/php-fpm.conf",
    "etc/php-fpm.conf",
    "etc/opt/remi/php83/php-fpm.conf",
    "etc/php83/php-fpm.conf",
    "usr/local/etc/php-fpm.conf",
]


def put(root: Path, place: str, *pools: str, port: int = 9000) -> Path:
    """Write a configuration with these pools."""
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"[{pool}]\nlisten = {port}\npm = static\npm.max_children = 4\n" for pool in pools))
    return path


def find(root: Path, pool: str | None = None) -> tuple[Path, PoolConfig]:
    """Search below a folder."""
    return search._search(root, pool, None, {})


@pytest.mark.parametrize("place", PLACES)
def test_where_it_is(tmp_path: Path, place: str) -> None:
    """Each distribution's place is known."""
    path = put(tmp_path, place, "www", "shop")
    found, config = find(tmp_path)
    assert (found, config.name) == (path, "www")
    assert find(tmp_path, "shop")[1].name == "shop"


def test_the_newest_of_debian(tmp_path: Path) -> None:
    """Of several versions the newest that has the pool is taken, by number and not by letter."""
    old = put(tmp_path, "etc/php/7.4/fpm/php-fpm.conf", "www", "legacy")
    put(tmp_path, "etc/php/8.2/fpm/php-fpm.conf", "www")
    newest = put(tmp_path, "etc/php/8.10/fpm/php-fpm.conf", "www")
    assert find(tmp_path)[0] == newest
    assert find(tmp_path, "legacy")[0] == old


def test_the_only_pool(tmp_path: Path) -> None:
    """A pool that is alone need not be named."""
    put(tmp_path, "etc/php-fpm.conf", "shop")
    assert find(tmp_path)[1].name == "shop"


def test_nothing_there(tmp_path: Path) -> None:
    """The error lists every place that was looked at, and what to give instead."""
    with pytest.raises(ConfigurationError, match="there is none; give path=") as caught:
        find(tmp_path)
    for place in ["/etc/php/*/fpm/php-fpm.conf", "/etc/php-fpm.conf", "/etc/opt/remi/php*/php-fpm.conf"]:
        assert place in caught.value.message
    assert "/etc/php*/php-fpm.conf" in caught.value.message
    assert "/usr/local/etc/php-fpm.conf" in caught.value.message


def test_none_has_the_pool(tmp_path: Path) -> None:
    """Each file that was read is named, with the pools it has, or with what is wrong with it."""
    first, second = put(tmp_path, PLACES[0], "www"), put(tmp_path, PLACES[4], "a", "b")
    broken = put(tmp_path, PLACES[1])
    with pytest.raises(ConfigurationError, match="none that has the pool 'shop'") as caught:
        find(tmp_path, "shop")
    assert f"{first}: there is no pool 'shop'; there is: www" in caught.value.message
    assert f"{second}: there is no pool 'shop'; there is: a, b" in caught.value.message
    assert f"{broken}: the file is empty" in caught.value.message


def test_several_have_it(tmp_path: Path) -> None:
    """Nobody guesses which of several FPMs is meant."""
    paths = [put(tmp_path, place, "www") for place in (PLACES[0], PLACES[4])]
    with pytest.raises(ConfigurationError, match=r"several configurations of FPM have a pool.*give path=") as caught:
        find(tmp_path)
    assert all(f"{path} (pool 'www')" in caught.value.message for path in paths)


def test_one_file_under_two_names(tmp_path: Path) -> None:
    """A link to the same file is no second one."""
    path = put(tmp_path, "etc/php83/php-fpm.conf", "www")
    os.symlink(path.parent, tmp_path / "etc/php")
    assert find(tmp_path)[0] in (path, tmp_path / "etc/php/php-fpm.conf")


def test_an_endpoint_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_fpm_config` looks there when it is given no path, for the pool that it is given."""
    path = put(tmp_path, PLACES[0], "www", "shop", port=9001)
    monkeypatch.setattr(search, "_ROOT", tmp_path)
    endpoint = Endpoint.from_fpm_config()
    assert (str(endpoint.address), endpoint.max_children) == ("tcp://127.0.0.1:9001", 4)
    assert Endpoint.from_fpm_config(pool="shop", reserve=0).share == 4
    path.unlink()
    with pytest.raises(ConfigurationError, match="was looked for in"):
        Endpoint.from_fpm_config()


def test_named_without_a_second_slash() -> None:
    """What is found below the root is named as everybody writes it."""
    assert search._glob(Path("/"), "etc/passwd") == [Path("/etc/passwd")]


def test_the_pool_at_an_address(tmp_path: Path) -> None:
    """It may have any name and be of any version; links to its socket lead to it too."""
    socket = tmp_path / "shop.sock"
    for version, listen in (("8.2", socket), ("8.4", "127.0.0.1:9000")):
        path = put(tmp_path, f"etc/php/{version}/fpm/php-fpm.conf", "www", port=9004)
        path.write_text(f"{path.read_text()}[shop]\nlisten = {listen}\npm = static\npm.max_children = 6\n")
    (tmp_path / "link.sock").symlink_to(socket)
    for address in (socket, tmp_path / "link.sock", "localhost:9000"):
        found = search._search_at(tmp_path, Address.parse(str(address)))
        assert found is not None
        assert (found[1].name, found[1].max_children) == ("shop", 6)


def test_no_single_pool_at_an_address(tmp_path: Path) -> None:
    """None is returned rather than a guess; a pool that cannot be understood hides no other one."""
    for version in ("8.2", "8.4"):
        put(tmp_path, f"etc/php/{version}/fpm/php-fpm.conf", "www", port=9000)
    good = put(tmp_path, PLACES[1], "www", port=9001)
    good.write_text(f"[broken]\nlisten = 9001\n{good.read_text()}")
    put(tmp_path, PLACES[4])
    assert search._search_at(tmp_path, Address.parse("127.0.0.1:9000")) is None
    assert search._search_at(tmp_path, Address.parse("127.0.0.1:9002")) is None
    assert search._search_at(tmp_path, Address.parse("127.0.0.1:9001")) is not None
