"""The addresses that are understood, and what is said about the others."""

from __future__ import annotations

import pytest

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.address import Address, AddressFamily


@pytest.mark.parametrize(
    ("text", "family", "path", "host", "port"),
    [
        ("unix:///run/php/php-fpm.sock", AddressFamily.UNIX, "/run/php/php-fpm.sock", "", 0),
        ("unix:///with space/and?question#mark", AddressFamily.UNIX, "/with space/and?question#mark", "", 0),
        ("unix://@php", AddressFamily.ABSTRACT, "php", "", 0),
        ("unix://@/run/php", AddressFamily.ABSTRACT, "/run/php", "", 0),
        ("tcp://127.0.0.1:9000", AddressFamily.TCP, "", "127.0.0.1", 9000),
        ("tcp://php.internal:65535", AddressFamily.TCP, "", "php.internal", 65535),
        ("tcp://[::1]:9000", AddressFamily.TCP, "", "::1", 9000),
    ],
)
def test_parse(text: str, family: AddressFamily, path: str, host: str, port: int) -> None:
    """Each kind of address is taken apart, and str() gives back what was given."""
    address = Address.parse(text)
    assert (address.family, address.path, address.host, address.port) == (family, path, host, port)
    assert str(address) == text
    assert address.is_unix is (family is not AddressFamily.TCP)


@pytest.mark.parametrize(
    ("bare", "text"),
    [
        ("/run/php/php-fpm.sock", "unix:///run/php/php-fpm.sock"),
        ("unix:/run/php/php-fpm.sock", "unix:///run/php/php-fpm.sock"),
        ("/with space/and:9000", "unix:///with space/and:9000"),
        ("127.0.0.1:9000", "tcp://127.0.0.1:9000"),
        ("php-fpm:9000", "tcp://php-fpm:9000"),
        ("[::1]:9000", "tcp://[::1]:9000"),
    ],
)
def test_bare(bare: str, text: str) -> None:
    """What stands in FPM's `listen` and in nginx's fastcgi_pass is taken, and named in full."""
    assert Address.parse(bare) == Address.parse(text)
    assert str(Address.parse(bare)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "run/php/php-fpm.sock",
        "//run/php/php-fpm.sock",
        "@abstract",
        "php",
        "9000",
        ":9000",
        "::1:9000",
        "php:",
        "php:9000/",
        "user@php:9000",
        "http://127.0.0.1:9000",
        "unix:run/php/php-fpm.sock",
        "unix://",
        "unix://run/php.sock",
        "unix://@",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://:9000",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:9000/path",
        "tcp://127.0.0.1:9000?query",
        "tcp://127.0.0.1:9000#fragment",
        "tcp://user@127.0.0.1:9000",
        "tcp://[::1:9000",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """What cannot be an address is refused, quoted, and answered with the three forms there are."""
    with pytest.raises(ConfigurationError) as caught:
        Address.parse(text)
    assert repr(text) in caught.value.message
    assert "unix:///run/php/php-fpm.sock, unix://@abstract or tcp://127.0.0.1:9000" in caught.value.message


def test_nul_in_a_path() -> None:
    """A NUL would cut the path."""
    with pytest.raises(ConfigurationError, match="has a NUL in its path"):
        Address.parse("unix:///run/php\0.sock")


def test_longest_path() -> None:
    """107 bytes are what a unix socket's path can have; one more is refused before connect() says something obscure."""
    longest = "unix:///" + "a" * 106
    assert Address.parse(longest).path == "/" + "a" * 106
    with pytest.raises(ConfigurationError, match="longer than the 107 bytes"):
        Address.parse(longest + "a")
    with pytest.raises(ConfigurationError, match="longer than the 107 bytes"):
        Address.parse("unix:///" + "é" * 54)


def test_another_type() -> None:
    """Something that is not even a string is named by its type."""
    with pytest.raises(ConfigurationError, match=r"not PosixPath|not int"):
        Address.parse(9000)  # type: ignore[arg-type]
