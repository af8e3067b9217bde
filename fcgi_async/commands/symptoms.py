"""Checks from outside whether a pool can run jobs: its socket, process, answer, status page and share."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
import struct
from pathlib import Path

import anyio

from fcgi_async.commands.advice import advise, silent_pool, sockets_beside
from fcgi_async.commands.check import Check, State
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import ConfigurationError, FastCGIError, QueueTimeout, StatusUnavailable
from fcgi_async.fpm.status import PoolStatus, StatusPage, fetch_status
from fcgi_async.net.address import Address, AddressFamily
from fcgi_async.net.dial import dial
from fcgi_async.pool.capacity import reserve_for_the_site
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("answer", "dialled", "share", "socket_file", "status_page")

_CREDENTIALS = struct.Struct("iII")


def socket_file(address: Address) -> Check | None:
    """Check the file of a unix socket: its owner, and whether this user may open it; None if there is no file."""
    if address.family is not AddressFamily.UNIX:
        return None
    path = address.path
    try:
        found = os.stat(path)
    except PermissionError:
        advice = "give this user the right to enter its folder (chmod o+x), or put the socket elsewhere with `listen`"
        return Check("socket", State.FAILED, f"this user may not enter the folder of {path}", advice)
    except OSError as error:
        advice = "check that FPM runs, and that `listen` in the pool's configuration names this path"
        if beside := sockets_beside(path):
            advice = f"{advice}; {beside}"
        return Check("socket", State.FAILED, f"{path}: {error.strerror}", advice)
    if not stat.S_ISSOCK(found.st_mode):
        return Check("socket", State.FAILED, f"{path} is not a socket", "name what `listen` names")
    whose = f"{_user(found.st_uid)}:{_group(found.st_gid)} {stat.S_IMODE(found.st_mode):04o}"
    if os.access(path, os.W_OK):
        return Check("socket", State.OK, f"{path} is {whose}, and {_user(os.geteuid())} may open it")
    who = _user(os.geteuid())
    advice = f"set listen.group to a group of {who} and listen.mode = 0660, and reload FPM"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        advice = f"add {who} to the group (usermod -aG {_group(found.st_gid)} {who}) and log in again, or {advice}"
    return Check("socket", State.FAILED, f"{path} is {whose}, and {who} may not open it", advice)


async def dialled(address: Address, timeout: float) -> list[Check]:
    """Connect, and find out which process listens."""
    try:
        with anyio.fail_after(timeout):
            connection = await dial(address, connect_timeout=timeout)
    except (OSError, FastCGIError) as error:
        return [Check("reachable", State.FAILED, f"{address}: {_reason(error)}", _connect_advice(error))]
    with connection:
        reached = Check("reachable", State.OK, f"{address} accepts connections")
        return [reached, _listener(connection)] if address.is_unix else [reached]


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it did not accept a connection in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _connect_advice(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "check listen.owner, listen.group and listen.mode"
    if isinstance(error, socket.gaierror):
        return "check that the host's name is right, and that this machine can look it up"
    if isinstance(error, TimeoutError):
        return "its queue may be full, because all workers are busy; or a firewall drops the packets"
    return "check that FPM runs, and that the address is that of `listen` in the pool's configuration"


def _listener(connection: socket.socket) -> Check:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(data)
    name = _process_name(pid) if pid else None
    if name is None:
        return Check("listener", State.UNKNOWN, "the listening process cannot be seen, as in another container")
    found = f"process {pid}, {name} of {_user(uid)}, listens there"
    if "php" in name:
        return Check("listener", State.OK, found)
    advice = "check whether it passes on to PHP-FPM; promises that need FPM's own socket do not hold through a relay"
    return Check("listener", State.WARNING, found, advice)


def _process_name(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return None


async def answer(address: str, timeout: float) -> Check:
    """Ask a worker whether it speaks FastCGI."""
    try:
        # asking one worker is enough, and every pool has one
        async with Dispatcher(address, max_children=1) as php:
            seconds = await php.ping(timeout)
    except QueueTimeout:
        found, _, advice = silent_pool(address, timeout).rpartition(": ")
        return Check("FastCGI", State.FAILED, found, advice)
    except FastCGIError as error:
        found, _, advice = advise(error, address).partition("; ")
        return Check("FastCGI", State.FAILED, found, advice)
    return Check("FastCGI", State.OK, f"a worker answered in {seconds * 1000:.1f} ms")


async def status_page(page: StatusPage | None, timeout: float) -> tuple[Check, PoolStatus | None]:
    """Ask for the status page; return it too."""
    name = "status page"
    if page is None:
        advice = "set pm.status_path = /status, and pm.status_listen to a socket of its own"
        return Check(
            name, State.WARNING, "pm.status_path is not set, so it is not visible what the workers do", advice
        ), None
    try:
        status = await fetch_status(page, timeout=timeout)
    except StatusUnavailable as error:
        found, _, advice = advise(error, None).partition("; ")
        return Check(name, State.WARNING, found, advice), None
    workers = f"{status.active} active and {status.idle} idle of {status.total} workers"
    return Check(name, State.OK, f"{page.path} at {page.address}: pool {status.pool}, {workers}"), status


def share(address: str, max_children: int, reserve: int | None, processes: int) -> Check:
    """Check how many workers a process may occupy."""
    try:
        left = reserve_for_the_site(max_children, processes) if reserve is None else reserve
        endpoint = Endpoint(address, max_children=max_children, reserve=left, processes=processes)
    except ConfigurationError as error:
        return Check("share", State.FAILED, error.message, "reserve fewer, or raise pm.max_children")
    others = f"{left} left to other clients"
    each = "this process" if processes == 1 else f"each of {processes} processes"
    return Check("share", State.OK, f"{endpoint.share} of {max_children} workers for {each}, {others}")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
