"""What an Endpoint takes, what it refuses, and the share it comes to."""

from __future__ import annotations

import pickle
from pathlib import PurePosixPath
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
        ({"max_children": 0}, "max_children must be at least 1, not 0; give pm.max_children"),
        ({"reserve": -1}, "reserve must be at least 0, not -1"),
        ({"processes": 0}, "processes must be at least 1, not 0"),
        ({"on_cancel": "kill"}, 'on_cancel must be "drain" or "close"'),
        ({"drain_timeout": -1.0}, "drain_timeout must be at least 0, not -1.0"),
        ({"drain_bytes": -1}, "drain_bytes must be at least 0, not -1"),
        ({"linger": -0.1}, "linger must be at least 0, not -0.1"),
        ({"connect_timeout": 0.0}, "connect_timeout must be more than 0, not 0.0"),
        ({"reconnect_timeout": -1.0}, "reconnect_timeout must be at least 0, not -1.0"),
        ({"max_children": 1.5}, "max_children must be a whole number, not 1.5"),
        ({"reserve": None}, "reserve must be a whole number, not None"),
        ({"drain_bytes": "1"}, "drain_bytes must be a whole number, not '1'"),
        ({"drain_timeout": "30"}, "drain_timeout must be a number of seconds, not '30'"),
        ({"drain_timeout": None}, "drain_timeout must be a number of seconds, not None"),
        ({"linger": "5"}, "linger must be a number of seconds, not '5'"),
        ({"connect_timeout": float("nan")}, "connect_timeout must be a number of seconds, not nan"),
        ({"reconnect_timeout": True}, "reconnect_timeout must be a number of seconds, not True"),
        ({"keepalive": 5}, r"keepalive must be a KeepAlive\(...\), not 5"),
        ({"handshake": "no"}, "handshake must be True or False, not 'no'"),
        ({"root": 7}, "root must be an absolute path on FPM's side, not 7"),
        ({"root": b"/srv"}, "root must be an absolute path on FPM's side, not b'/srv'"),
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


@pytest.mark.parametrize(
    "arguments",
    [{"idle": -1.0}, {"max_requests": 0}, {"idle": "1"}, {"idle": None}, {"max_requests": 1.5}, {"max_requests": "9"}],
    ids=str,
)
def test_keepalive_out_of_range(arguments: dict[str, Any]) -> None:
    """KeepAlive refuses negative seconds, connections that serve nothing, and what is no number."""
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params": "A=1"}, r"Endpoint\(params\) must be a mapping of names to values, not str"),
        ({"params": [("A", "1")]}, r"Endpoint\(params\) must be a mapping of names to values, not list"),
        ({"headers": "x"}, r"Endpoint\(headers\) must be a mapping or a sequence of \(name, value\), not str"),
        ({"headers": 7}, r"Endpoint\(headers\) must be a mapping or a sequence of "),
        ({"headers": ["X-A: 1"]}, r"Endpoint\(headers\) must be a mapping or a sequence of "),
        ({"allow_params": "PHP_VALUE"}, r"Endpoint\(allow_params\) must be a set of names, such as \{'PHP_VALUE'\}"),
        ({"allow_params": 7}, r"Endpoint\(allow_params\) must be a set of names"),
        ({"status": 7}, "an address must be a string"),
        ({"address": 7}, "an address must be a string"),
    ],
    ids=str,
)
def test_values_of_another_type(arguments: dict[str, Any], message: str) -> None:
    """What cannot be meant is refused by its name."""
    with pytest.raises(ConfigurationError, match=message):
        Endpoint(**({"address": ADDRESS} | arguments))


def full(**settings: Any) -> Endpoint:
    """An endpoint with everything that could be hard to hash."""
    given: dict[str, Any] = {
        "params": {"A": "1", "B": "2"},
        "headers": {"X-A": "1"},
        "status": "unix:///run/status.sock",
        "allow_params": {"PHP_VALUE"},
        "keepalive": KeepAlive(idle=2),
        "root": PurePosixPath("/srv"),
    }
    return Endpoint(ADDRESS, **(given | settings))


def test_equal_endpoints_are_one_key() -> None:
    """An endpoint is a value: equal ones have the same hash, whatever the order of their parameters."""
    other = full(params={"B": "2", "A": "1"}, root="/srv")
    assert full() == other
    assert {full(): "found"}[other] == "found"
    pairs = full(headers=[("X-A", "1"), ("X-A", "2")])
    assert pairs == full(headers=(["X-A", "1"], ["X-A", "2"]))
    assert len({full(), other, pairs, full(params={}), full(headers={"X-A": "2"}), full(root=None)}) == 5


def test_endpoints_can_be_sent_to_another_process() -> None:
    """An endpoint is the same after a pickle."""
    assert pickle.loads(pickle.dumps(full())) == full()


def test_repr_shows_no_credentials() -> None:
    """What an endpoint sends stays out of logs."""
    shown = repr(full(params={"TOKEN": "secret"}, headers={"Authorization": "secret"}))
    assert "/srv" in shown
    assert "secret" not in shown
