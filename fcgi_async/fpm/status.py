"""FPM's status page: its address, its content, and how to fetch it.

The counts come from the list of processes. FPM's own counters of active and idle processes count every request on a
kept connection as another active process until the master's next heartbeat: 302 instead of 2 were seen.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import anyio
import attrs

from fcgi_async.errors import ConfigurationError, RemoteProtocolError, StatusUnavailable
from fcgi_async.fpm.status_json import read_page
from fcgi_async.net.address import Address
from fcgi_async.net.dial import dial
from fcgi_async.wire.cgi import HeadParser, HeadTooLarge
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded, Stdout, Terminated
from fcgi_async.wire.records import encode_pair, pack_pairs

__all__ = ("PoolStatus", "ProcessState", "ProcessStatus", "StatusPage", "fetch_status", "parse_status")

T = TypeVar("T")

# about 400 bytes for each process, plus its URI
_MOST_BYTES = 16 * 1024 * 1024
_READ_SIZE = 64 * 1024
_SIGN_BIT = 2**63
_SET_STATUS_PATH = "set pm.status_path in that pool's configuration, and give StatusPage(address, path=...) the same"


def _address(value: str | Address) -> Address:
    return value if isinstance(value, Address) else Address.parse(value)


@attrs.frozen
class StatusPage:
    """The address of FPM's status page.

    Args:
        address: the address in `pm.status_listen`, which answers even while every worker is busy; or the pool's own.
        path: `pm.status_path`.

    Raises:
        ConfigurationError: the address or the path is invalid.
    """

    address: Address = attrs.field(converter=_address)
    path: str = "/status"

    def __attrs_post_init__(self) -> None:
        if not self.path.startswith("/") or not self.path.isascii() or not self.path.isprintable():
            raise ConfigurationError(f"StatusPage(path={self.path!r}): a path such as /status, as in pm.status_path")


class ProcessState(StrEnum):
    """The states of a worker, in FPM's words; a kept connection without a request is READING_HEADERS."""

    CREATING = "Creating"
    IDLE = "Idle"
    READING_HEADERS = "Reading headers"
    GETTING_REQUEST_INFORMATIONS = "Getting request informations"
    RUNNING = "Running"
    ENDING = "Ending"
    FINISHING = "Finishing"
    # a state that this library does not know
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> ProcessState:
        return cls.OTHER


@attrs.frozen(kw_only=True)
class ProcessStatus:
    """One worker; for an idle worker, the request is its last one, unless a kept connection hides it.

    Attributes:
        pid: its process id.
        state: what it is doing.
        start_time: when the worker was started.
        requests: how many requests it has served.
        request_duration: seconds that the request has taken so far, or took in total; 0 if FPM's clocks raced.
        request_method: None if there was no request yet.
        request_uri: the URI with its query, as the client sent it, including control characters. FPM does not escape
            all of method, URI, script and user: a value with a quote in it may be cut off at the wrong place.
        script: SCRIPT_FILENAME.
        content_length: bytes of the request's body.
        user: PHP_AUTH_USER, or None.
        last_request_cpu: percent of a processor that the last request used; 0 if FPM could not tell.
        last_request_memory: peak memory of the last request in bytes.
    """

    pid: int
    state: ProcessState
    start_time: datetime
    requests: int
    request_duration: float
    request_method: str | None
    request_uri: str | None
    script: str | None
    content_length: int
    user: str | None
    last_request_cpu: float
    last_request_memory: int

    @property
    def active(self) -> bool:
        """Whether it has a connection; then it serves no other."""
        return self.state not in (ProcessState.IDLE, ProcessState.CREATING)


@attrs.frozen(kw_only=True)
class PoolStatus:
    """One FPM pool, as its status page describes it.

    Attributes:
        pool: its name.
        process_manager: `pm`: "static", "dynamic" or "ondemand".
        start_time: when FPM was started or reloaded.
        start_since: seconds since then; 0 if FPM's clock has gone backwards.
        accepted_connections: connections accepted since then.
        listen_queue: connections that wait for a worker; None if FPM does not know it, as on every unix socket.
        max_listen_queue: most connections that have waited at the same time; None if FPM does not know it.
        max_children_reached: how often `pm.max_children` kept FPM from starting another worker; stays 0 with
            `pm = static`.
        slow_requests: requests that took longer than `request_slowlog_timeout`.
        processes: its workers.
    """

    pool: str
    process_manager: str
    start_time: datetime
    start_since: int
    accepted_connections: int
    listen_queue: int | None
    max_listen_queue: int | None
    max_children_reached: int
    slow_requests: int
    processes: tuple[ProcessStatus, ...]

    @property
    def active(self) -> int:
        """Number of workers with a connection, including the worker that answers if it belongs to this pool."""
        return sum(process.active for process in self.processes)

    @property
    def idle(self) -> int:
        """Number of workers that wait for a connection."""
        return sum(process.state is ProcessState.IDLE for process in self.processes)

    @property
    def total(self) -> int:
        """Number of workers."""
        return len(self.processes)


def parse_status(data: bytes) -> PoolStatus:
    """Parse a page that was requested with `?full&json`; unknown fields are ignored.

    Raises:
        StatusUnavailable: it is not such a page.
    """
    try:
        values = _mapping(read_page(data))
    except ValueError as error:
        raise StatusUnavailable(f"what answered is not FPM's status page: {error}; {_SET_STATUS_PATH}") from error
    processes, start = _value(values, "processes", list), _time(values)
    queue, most = _value(values, "listen queue", int), _value(values, "max listen queue", int)
    # Linux reports a queue and its length for TCP only; FPM writes 0 for what it does not know
    queue_known = _value(values, "listen queue len", int) > 0
    return PoolStatus(
        pool=_value(values, "pool", str),
        process_manager=_value(values, "process manager", str),
        start_time=start,
        start_since=_elapsed(values, "start since"),
        accepted_connections=_value(values, "accepted conn", int),
        listen_queue=queue if queue_known else None,
        max_listen_queue=most if queue_known else None,
        max_children_reached=_value(values, "max children reached", int),
        slow_requests=_value(values, "slow requests", int),
        processes=tuple(_parse_process(_mapping(process), start) for process in processes),
    )


def _parse_process(values: Mapping[str, object], start_of_pool: datetime) -> ProcessStatus:
    return ProcessStatus(
        pid=_value(values, "pid", int),
        state=ProcessState(_value(values, "state", str)),
        start_time=_time(values, start_of_pool),
        requests=_value(values, "requests", int),
        request_duration=_elapsed(values, "request duration") / 1e6,
        request_method=_text(values, "request method"),
        request_uri=_text(values, "request uri"),
        script=_text(values, "script"),
        content_length=_value(values, "content length", int),
        user=_text(values, "user"),
        last_request_cpu=_percent(values, "last request cpu"),
        last_request_memory=_value(values, "last request memory", int),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise StatusUnavailable(
            f"what answered is not FPM's status page: {type(value).__name__} instead of an object; {_SET_STATUS_PATH}"
        )
    return value


def _value(values: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = values.get(name)
    # a whole number is also accepted as a float
    if isinstance(value, kind) or (kind is float and isinstance(value, int)):
        return value  # type: ignore[return-value]
    raise StatusUnavailable(
        f"FPM's status page has no {name!r}, or not as {kind.__name__}; check that what answers is PHP-FPM 5.4 or "
        "later, and that nothing in between removes `full&json` from the query"
    )


def _elapsed(values: Mapping[str, object], name: str) -> int:
    """Return a duration; FPM's clocks may race, and it writes a negative duration as an unsigned number."""
    value = _value(values, name, int)
    return value if 0 <= value < _SIGN_BIT else 0


def _percent(values: Mapping[str, object], name: str) -> float:
    """Return a percentage; FPM divides by a duration that may be 0."""
    value = _value(values, name, float)
    try:
        return float(value) if math.isfinite(value) else 0.0
    except OverflowError:
        return 0.0


def _text(values: Mapping[str, object], name: str) -> str | None:
    text = _value(values, name, str)
    return None if text in ("", "-") else text


def _time(values: Mapping[str, object], default: datetime | None = None) -> datetime:
    seconds = _value(values, "start time", int)
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        if default is not None:
            return default
        raise StatusUnavailable(f"FPM's status page has the invalid start time {seconds}") from error


async def fetch_status(page: StatusPage, *, timeout: float = 5.0) -> PoolStatus:
    """Ask FPM for its status page, on a connection of its own.

    Args:
        page: the page to fetch.
        timeout: seconds to wait at most.

    Raises:
        StatusUnavailable: there is no answer, or not in time; the error tells what to configure.

    Cancelling closes the connection.
    """
    where, endpoint = f"status page {page.path} at {page.address}", str(page.address)
    try:
        with anyio.move_on_after(timeout):
            return parse_status(await _ask(page))
    except StatusUnavailable as error:
        raise StatusUnavailable(f"{where}: {error.message}", endpoint=endpoint) from error.__cause__
    raise StatusUnavailable(
        f"{where}: no answer within {timeout} s; on a pool's own socket it waits for that pool's "
        "requests: set pm.status_listen there, and give StatusPage that address",
        endpoint=endpoint,
    )


async def _ask(page: StatusPage) -> bytes:
    try:
        sock = await dial(page.address, connect_timeout=math.inf)
        try:
            return await _exchange(sock, page)
        finally:
            sock.close()
    except OSError as error:
        raise StatusUnavailable(_explain(error)) from error
    except (RemoteProtocolError, HeadTooLarge) as error:
        raise StatusUnavailable(f"what answers there is not PHP-FPM: {error}; check pm.status_listen") from error


async def _exchange(sock: socket.socket, page: StatusPage) -> bytes:
    client = ClientConnection()
    request = client.begin_request(keep_conn=False)
    client.send_params(request, pack_pairs(_params(page.path)))
    client.send_stdin(request, end=True)
    await _send(sock, client.data_to_send())
    parser, status, body, size = HeadParser(), 0, [b""], 0
    while True:
        await anyio.wait_readable(sock)
        try:
            data = sock.recv(_READ_SIZE)
        except BlockingIOError:
            continue
        size += len(data)
        for event in client.receive_data(data) if data else client.receive_eof():
            if isinstance(event, Terminated):
                raise StatusUnavailable(
                    f"the connection was closed without an answer ({event.error or 'normally'}); "
                    "see `listen.allowed_clients`, and that the address is one of FPM's"
                )
            if isinstance(event, RequestEnded):
                return _body(status, b"".join(body), event)
            if isinstance(event, Stdout):
                body.append(event.data)
                if not status and (head := parser.feed(event.data)) is not None:
                    status, body = head[0].status, [head[1]]
        if size > _MOST_BYTES:
            raise StatusUnavailable(f"what answers sends more than {_MOST_BYTES} bytes; {_SET_STATUS_PATH}")


def _params(path: str) -> list[bytes]:
    # without any SCRIPT_FILENAME, FPM does not recognise its own page
    params = {
        "SCRIPT_NAME": path,
        "SCRIPT_FILENAME": path,
        "REQUEST_URI": path,
        "QUERY_STRING": "full&json",
        "REQUEST_METHOD": "GET",
    }
    return [encode_pair(name.encode(), value.encode()) for name, value in params.items()]


async def _send(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        await anyio.wait_writable(sock)
        rest = rest[sock.send(rest) :]


def _body(status: int, body: bytes, end: RequestEnded) -> bytes:
    if end.protocol_status:
        raise StatusUnavailable(f"the request was refused with protocol status {end.protocol_status}")
    if status != 200:
        answer = f"status {status}" if status else "no response"
        raise StatusUnavailable(f"FPM answers with {answer}: the page has another path or none; {_SET_STATUS_PATH}")
    return body


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return (
            "there is no such socket; compare with pm.status_listen in that pool's configuration, and check that FPM "
            "runs"
        )
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; check that FPM runs, and that the address is the one in pm.status_listen"
    if isinstance(error, PermissionError):
        return (
            "this user may not open the socket; add the user to its group and log in again, or check `listen.owner`, "
            "`listen.group` and `listen.mode`"
        )
    return f"the connection failed: {error}"
