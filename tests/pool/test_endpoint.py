"""What an Endpoint takes, what it refuses, and the share it comes to."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.address import Address
from fcgi_async.pool.endpoint import Endpoint, KeepAlive

ADDRESS = "unix:///run/php/php-fpm.sock"


@pytest.mark.parametrize(
    ("max_children", "reserve", "processes", "share"),
    [(8, 0, 1, 8), (8, 2, 1, 6), (8, 2, 2, 3), (8, 1, 2, 3), (1, 0, 1, 1), (10, 1, 4, 2), (3, 0, 3, 1)],
)
def test_share(max_children: int, reserve: int, processes: int, share: int) -> None:
    """The share is what the reserve leaves, divided among the processes and rounded down."""
    assert Endpoint(ADDRESS, max_children=max_children, reserve=reserve, processes=processes).share == share


def test_unknown_share_says_where_to_look() -> None:
    """Without max_children there is no share, and the error names FPM's setting and its file."""
    endpoint = Endpoint(ADDRESS)
    with pytest.raises(ConfigurationError, match=r"pm\.max_children .*pool\.d/www\.conf") as caught:
        _ = endpoint.share
    assert caught.value.endpoint == ADDRESS


def test_address_is_parsed() -> None:
    """The address may be given as a string or parsed already."""
    assert Endpoint(ADDRESS).address == Address.parse(ADDRESS)
    assert Endpoint(Address.parse(ADDRESS)).address == Address.parse(ADDRESS)


def test_bad_address_is_refused() -> None:
    """What is no address is refused where the endpoint is made."""
    with pytest.raises(ConfigurationError, match="is not an address"):
        Endpoint("http://localhost")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_children": 0}, "max_children is at least 1"),
        ({"reserve": -1}, "reserve cannot be negative"),
        ({"processes": 0}, "processes is at least 1"),
        ({"on_cancel": "kill"}, 'on_cancel is "drain" or "close"'),
        ({"drain_timeout": -1.0}, "drain_timeout and drain_bytes cannot be negative"),
        ({"drain_bytes": -1}, "drain_timeout and drain_bytes cannot be negative"),
        ({"linger": -0.1}, "linger cannot be negative"),
        ({"connect_timeout": 0.0}, "timeouts cannot be negative"),
        ({"reconnect_timeout": -1.0}, "timeouts cannot be negative"),
        ({"max_children": 2, "reserve": 2}, "max_children=2 less reserve=2, shared by 1 process.* leaves no worker"),
        ({"max_children": 3, "processes": 4}, "max_children=3 less reserve=0, shared by 4 process.* leaves no worker"),
    ],
    ids=str,
)
def test_out_of_range(arguments: dict[str, Any], message: str) -> None:
    """A value out of its range is refused, with the endpoint's address and what is allowed."""
    with pytest.raises(ConfigurationError, match=f"endpoint {ADDRESS}: .*{message}") as caught:
        Endpoint(ADDRESS, **arguments)
    assert caught.value.endpoint == ADDRESS


@pytest.mark.parametrize("arguments", [{"idle": -1.0}, {"max_requests": 0}], ids=str)
def test_keepalive_out_of_range(arguments: dict[str, Any]) -> None:
    """KeepAlive refuses negative seconds and connections that serve nothing."""
    with pytest.raises(ConfigurationError, match="KeepAlive"):
        KeepAlive(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"drain_timeout": 0.0}, {"drain_bytes": 0}, {"linger": 0.0}, {"reconnect_timeout": 0.0}, {"on_cancel": "close"}],
    ids=str,
)
def test_edges_of_the_ranges_are_allowed(arguments: dict[str, Any]) -> None:
    """Nothing at all is a value where it makes sense."""
    Endpoint(ADDRESS, **arguments)


def test_defaults() -> None:
    """What is not given is what the documentation says."""
    endpoint = Endpoint(ADDRESS)
    assert attrs.asdict(endpoint.keepalive) == {"idle": 1.0, "max_requests": None}
    assert (endpoint.reserve, endpoint.processes, endpoint.handshake, endpoint.on_cancel) == (0, 1, True, "drain")
    assert (endpoint.drain_timeout, endpoint.drain_bytes, endpoint.linger) == (30.0, 16 * 1024 * 1024, None)
    assert (endpoint.connect_timeout, endpoint.reconnect_timeout) == (5.0, 30.0)


def test_params_and_headers_cannot_be_changed_afterwards() -> None:
    """What was given is copied, and what is kept is read-only."""
    given = {"APP_ENV": "prod"}
    endpoint = Endpoint(ADDRESS, params=given, headers={"X-A": "1"})
    given["APP_ENV"] = "test"
    assert dict(endpoint.params) == {"APP_ENV": "prod"}
    with pytest.raises(TypeError):
        endpoint.headers["X-A"] = "2"  # type: ignore[index]
