"""The network that the tests of clusters make: its hosts reach each other until one is cut off, and nobody else."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.namespaces import Host, Network
from tests.eventually import soon

pytestmark = pytest.mark.cluster

# says what it is asked by way of UDP, which has nothing to time out
ECHO = ["socat", "UDP4-RECVFROM:7,fork", "PIPE"]


@pytest.fixture
def network() -> Iterator[Network]:
    """Two hosts."""
    with Network(2) as network:
        yield network


def test_a_host_is_cut_off_and_reconnected(network: Network) -> None:
    """Whoever is beside the switch reaches it, before and after."""
    first, _ = network.hosts
    server = subprocess.Popen(first.inside(ECHO))
    try:
        with network.entered():
            soon(lambda: answers(first.address))
            first.cut()
            assert not answers(first.address)
            first.mend()
            soon(lambda: answers(first.address))
    finally:
        server.kill()
        server.wait()


def test_a_host_that_refuses_another_is_still_reached_by_others(network: Network) -> None:
    """The two do not hear of each other; beside the switch both are there."""
    first, second = network.hosts
    server = subprocess.Popen(first.inside(ECHO))
    try:
        with network.entered():
            soon(lambda: answers(first.address))
        soon(lambda: reaches(second, first))
        first.refuse(second)
        assert not reaches(second, first)
        with network.entered():
            soon(lambda: answers(first.address))
        first.accept(second)
        soon(lambda: reaches(second, first))
    finally:
        server.kill()
        server.wait()


def test_threads_started_beside_the_switch_stay_there(network: Network) -> None:
    """Those of before, and whoever comes after the block, are where they were."""
    here, seen = namespace(), []
    with network.entered():
        there = namespace()
        thread = threading.Thread(target=lambda: seen.append(namespace()))
        thread.start()
        thread.join()
    assert namespace() == here != there
    assert seen == [there]


def test_the_network_has_no_way_out(network: Network) -> None:
    """Not to this machine's loopback, nor to anywhere else."""
    with socket.create_server(("127.0.0.1", 0)) as server, network.entered(), socket.socket() as sent:
        with pytest.raises(ConnectionRefusedError):
            sent.connect(server.getsockname())
        with pytest.raises(OSError, match="unreachable"):
            socket.create_connection(("192.0.2.1", 80), timeout=5)


def answers(address: str) -> bool:
    """Whether the echo at an address answers within half a second."""
    with socket.socket(type=socket.SOCK_DGRAM) as asked:
        asked.settimeout(0.5)
        try:
            asked.sendto(b"here", (address, 7))
            return asked.recv(100) == b"here"
        except OSError:
            return False


def reaches(host: Host, other: Host) -> bool:
    """Whether the echo of another host answers a host."""
    asked = ["socat", "-T", "0.5", "-", f"UDP4:{other.address}:7"]
    done = subprocess.run(host.inside(asked), input=b"here", capture_output=True, check=False)
    return done.stdout == b"here"


def namespace() -> str:
    """The network namespace of this thread."""
    return str(Path("/proc/thread-self/ns/net").readlink())
