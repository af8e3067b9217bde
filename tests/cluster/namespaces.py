"""Hosts of a network of the tests' own: namespaces of the kernel's, which a switch joins and a test cuts off.

The namespaces have no names, so that nothing is left if whoever made them is killed: each lasts as long as a process
that ends with its parent, and as what runs in it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, Self

_CLONE_NEWNET = 0x40000000
# of the network, which nobody else sees
_PREFIX = "10.77.0."
_OWN = 1
_FIRST = 11
_KEEPER = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "echo made; exec sleep infinity"]

_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A host of a `Network`.

    Attributes:
        name: "host1" and so on.
        address: its IPv4 address.
    """

    def __init__(self, switch: _Namespace, number: int) -> None:
        self.name, self.address = f"host{number}", f"{_PREFIX}{_FIRST + number - 1}"
        self._switch, self._namespace = switch, _Namespace()
        self._port = f"port{number}"
        try:
            ours, theirs = ["name", self._port], ["name", "eth0", "netns", str(self._namespace.pid)]
            switch.ip("link", "add", *ours, "type", "veth", "peer", *theirs)
            switch.ip("link", "set", self._port, "master", "switch", "up")
            self._namespace.ip("address", "add", f"{self.address}/24", "dev", "eth0")
            self._namespace.ip("link", "set", "eth0", "up")
        except BaseException:
            self._namespace.close()
            raise

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs a command on this host; root runs it."""
        return self._namespace.inside(command)

    def processes(self) -> list[int]:
        """Return what runs on this host."""
        return self._namespace.processes()

    def cut(self) -> None:
        """Pull the cable: nothing comes or goes, and no one is told."""
        self._switch.ip("link", "set", self._port, "down")

    def mend(self) -> None:
        """Plug it in again."""
        self._switch.ip("link", "set", self._port, "up")

    def refuse(self, other: Host) -> None:
        """Send nothing to another host any more; others still reach both."""
        self._namespace.ip("route", "replace", "blackhole", f"{other.address}/32")

    def accept(self, other: Host) -> None:
        """Send to another host again."""
        self._namespace.ip("route", "delete", "blackhole", f"{other.address}/32")

    def close(self) -> None:
        """Give up the namespace, which is gone when nothing runs in it."""
        self._namespace.close()


class Network:
    """Some hosts and a switch, within a `with` block.

    Args:
        hosts: how many.

    Attributes:
        hosts: the hosts.
        address: of who is `entered()`, where the hosts find it.
    """

    def __init__(self, hosts: int) -> None:
        assert os.geteuid() == 0, "network namespaces are made by root: sudo make test-cluster"
        self.address = f"{_PREFIX}{_OWN}"
        self.hosts: list[Host] = []
        self._count = hosts

    def __enter__(self) -> Self:
        self._switch = _Namespace()
        try:
            self._switch.ip("link", "add", "switch", "type", "bridge")
            self._switch.ip("address", "add", f"{self.address}/24", "dev", "switch")
            self._switch.ip("link", "set", "switch", "up")
            for number in range(1, self._count + 1):
                self.hosts.append(Host(self._switch, number))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for host in self.hosts:
            host.close()
        self.hosts.clear()
        self._switch.close()

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs a command beside the switch, where no host's fault cuts it off."""
        return self._switch.inside(command)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Have this thread, and threads and processes that it starts, beside the switch within a `with` block."""
        with open("/proc/thread-self/ns/net", "rb") as before, self._switch.open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())


class _Namespace:
    """A network namespace, with its loopback up."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(_KEEPER, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._keeper.stdout is not None
        try:
            assert self._keeper.stdout.readline() == b"made\n", "the kernel makes no network namespace"
            self.ip("link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """A process in it."""
        return self._keeper.pid

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs a command in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def processes(self) -> list[int]:
        """Return what runs in it, beside what keeps it."""
        wanted, found = os.stat(f"/proc/{self.pid}/ns/net").st_ino, []
        for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
            with suppress(OSError):
                if pid != self.pid and os.stat(f"/proc/{pid}/ns/net").st_ino == wanted:
                    found.append(pid)
        return found

    def open(self) -> BinaryIO:
        """Return it as a file."""
        return open(f"/proc/{self.pid}/ns/net", "rb")

    def ip(self, *arguments: str) -> None:
        """Perform an `ip` in it."""
        done = subprocess.run(self.inside(["ip", *arguments]), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"

    def close(self) -> None:
        """End what keeps it."""
        self._keeper.kill()
        self._keeper.communicate()


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
