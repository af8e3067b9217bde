"""Send files: decide how a request is answered, and send the bytes."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence

import anyio.to_thread
import attrs

from fcgi_async.asgi.php_application.conditions import Validators, decide, names_this
from fcgi_async.asgi.php_application.lookup import refuse_file
from fcgi_async.asgi.php_application.media_types import media_type
from fcgi_async.asgi.php_application.ranges import parse_range
from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.asgi.php_application.watch import Client
from fcgi_async.asgi.protocol import Scope

__all__ = ("FileAnswer", "answer_file", "send_file")

# files up to this size are read in the event loop: a thread would cost more
_AT_ONCE = 64 * 1024
_PIECE = 256 * 1024
_PATHSEND = "http.response.pathsend"
# O_NONBLOCK: opening must not wait for a writer if a FIFO has replaced the file
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
# the content coding, and the extension of a copy that has it
_CODINGS: Mapping[str, tuple[bytes, bytes]] = {
    "br": (b"br", b".br"),
    "gz": (b"gzip", b".gz"),
    "zst": (b"zstd", b".zst"),
}

_Headers = list[tuple[bytes, bytes]]
_CONDITIONAL = frozenset({b"if-none-match", b"if-modified-since", b"if-match", b"if-unmodified-since"})


@attrs.frozen
class FileAnswer:
    """The answer to a request for a file.

    Attributes:
        status: 200, 206, 304, 412 or 416.
        headers: lower-case names and values.
        start: the position of the first byte to send.
        length: number of bytes to send; 0 for HEAD and for a status without a body.
    """

    status: int
    headers: _Headers
    start: int
    length: int


def answer_file(
    method: str, request: Mapping[bytes, bytes], validators: Validators, size: int, headers: _Headers
) -> FileAnswer:
    """Return the answer to a request for a file.

    Args:
        method: GET or HEAD.
        request: headers of the request, lower-case names.
        validators: the validators of the file.
        size: size of the file in bytes.
        headers: headers to send with the file, such as its Content-Type.
    """
    state = [(b"etag", validators.etag), (b"last-modified", validators.last_modified)]
    status = 200 if _CONDITIONAL.isdisjoint(request) else decide(request, validators)
    if status == 304:
        kept = [pair for pair in headers if pair[0] not in (b"content-type", b"content-encoding")]
        return FileAnswer(304, kept + state, 0, 0)
    if status == 412:
        return FileAnswer(412, [(b"content-length", b"0")], 0, 0)
    start, length = 0, size
    wanted = request.get(b"range") if method == "GET" else None
    if wanted is not None and (b"if-range" not in request or names_this(request[b"if-range"], validators)):
        part = parse_range(wanted, size)
        if part is False:
            return FileAnswer(416, [(b"content-range", b"bytes */%d" % size), (b"content-length", b"0")], 0, 0)
        if isinstance(part, tuple):
            start, length = part
            status = 206
            state.append((b"content-range", b"bytes %d-%d/%d" % (start, start + length - 1, size)))
    state += [(b"accept-ranges", b"bytes"), (b"content-length", b"%d" % length)]
    return FileAnswer(status, headers + state, start, 0 if method == "HEAD" else length)


async def send_file(
    client: Client,
    scope: Scope,
    path: bytes,
    *,
    name: bytes,
    precompressed: Sequence[str] = (),
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> int:
    """Send a regular file, and return the status.

    Args:
        client: the client.
        scope: the request; its method is GET or HEAD.
        path: the file.
        name: the name that decides the media type.
        precompressed: extensions of compressed copies ("br", "gz", "zst"), which are sent instead if they exist and the
            client accepts the coding.
        headers: headers to send before the file's own; a Content-Type here replaces the one that the name suggests.

    Raises:
        Refusal: 404: the file does not exist or is not regular; 403: it may not be read; 503: it cannot be read now.

    Cancelling closes the file.
    """
    request = dict(scope["headers"])
    own = list(headers)
    if not own or all(pair[0] != b"content-type" for pair in own):
        own.append((b"content-type", media_type(name)))
    if precompressed:
        path, coding = _neighbour(path, precompressed, request.get(b"accept-encoding", b""))
        own.append((b"vary", b"Accept-Encoding"))
        if coding is not None:
            own.append((b"content-encoding", coding))
    descriptor, status = _open(path)
    try:
        validators = Validators.of(status.st_mtime, status.st_size, time.time())
        answer = answer_file(scope["method"], request, validators, status.st_size, own)
        whole = answer.length == status.st_size
        if answer.length > _AT_ONCE and whole and _PATHSEND in (scope.get("extensions") or ()):
            await client.start(answer.status, answer.headers)
            await client.send({"type": _PATHSEND, "path": os.fsdecode(path)})
        else:
            await _send(client, descriptor, answer)
    finally:
        os.close(descriptor)
    return answer.status


def _open(path: bytes) -> tuple[int, os.stat_result]:
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        raise refuse_file(error) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Refusal(404, "the file is not a regular one")
    return descriptor, status


async def _send(client: Client, descriptor: int, answer: FileAnswer) -> None:
    if answer.length <= _AT_ONCE:
        data = os.pread(descriptor, answer.length, answer.start) if answer.length else b""
        if len(data) < answer.length:
            raise _cut()
        await client.whole(answer.status, answer.headers, data)
        return
    await client.start(answer.status, answer.headers)
    # some servers say nothing when they cannot send any more
    client.watch(lambda: None)
    offset, end = answer.start, answer.start + answer.length
    while offset < end and not client.gone:
        data = await anyio.to_thread.run_sync(os.pread, descriptor, min(_PIECE, end - offset), offset)
        offset += len(data)
        if not data:
            raise _cut()
        await client.body(data, more=offset < end)


def _cut() -> OSError:
    return OSError("the file was truncated while it was sent, and so is the answer")


def _neighbour(path: bytes, precompressed: Sequence[str], accepted: bytes) -> tuple[bytes, bytes | None]:
    """Return the file to send, and its content coding."""
    codings = _accepted(accepted)
    for name in precompressed:
        coding, end = _CODINGS[name]
        if coding in codings:
            try:
                # a symbolic link may lead anywhere
                if stat.S_ISREG(os.lstat(path + end).st_mode):
                    return path + end, coding
            except OSError:
                continue
    return path, None


def _accepted(value: bytes) -> set[bytes]:
    found = set()
    for part in value.lower().split(b","):
        coding, _, quality = part.replace(b" ", b"").partition(b";q=")
        if quality.strip(b"0.") or not quality:
            found.add(coding)
    return found
