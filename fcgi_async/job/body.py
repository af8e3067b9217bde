"""Request bodies: bytes, or a stream of known length."""

from __future__ import annotations

import io
import json.encoder
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from mimetypes import guess_type
from pathlib import Path, PurePath
from threading import Lock
from typing import IO, Protocol, runtime_checkable

import anyio.to_thread
import attrs

from fcgi_async.errors import InvalidJob
from fcgi_async.job.closing import close_iterator
from fcgi_async.job.form import form_fields, to_utf8

__all__ = (
    "BodyStream",
    "File",
    "FileContent",
    "encode_json",
    "encode_multipart",
    "opener",
)

FileContent = bytes | str | os.PathLike[str] | IO[bytes] | AsyncIterable[bytes]
# a value of `files`: the content, or (filename, content[, content_type[, length]])
File = FileContent | Sequence[object]

_READ_SIZE = 256 * 1024
_NAMELESS = "upload"
_UNKNOWN_TYPE = "application/octet-stream"
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@runtime_checkable
class _Readable(Protocol):
    """An open file."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def tell(self) -> int: ...


@attrs.frozen(eq=False)
class BodyStream:
    """A body that comes in parts.

    Attributes:
        length: total number of bytes; PHP-FPM does not accept a body of unknown length.
        open: returns the parts.
        replayable: whether `open` can be called again.
    """

    length: int
    open: Callable[[], AsyncIterator[bytes]]
    replayable: bool


def opener(content: AsyncIterable[bytes]) -> Callable[[], AsyncIterator[bytes]]:
    """Return a function that opens a caller's iterable; an iterator can be opened only once."""
    used = False

    def open_once() -> AsyncIterator[bytes]:
        nonlocal used
        if used and isinstance(content, AsyncIterator):
            raise ValueError("the body is an iterator that was sent before; make a new Job with a new iterator")
        used = True
        return aiter(content)

    return open_once


def _json_encoder() -> Callable[[object, int], Iterable[str]]:
    """Return an encoder like `_JSON` that does not check whether a value contains itself.

    JSONEncoder creates its C encoder anew for each value, which costs more than encoding a small one.
    """
    try:
        return json.encoder.c_make_encoder(  # type: ignore[attr-defined, no-any-return]  # undocumented
            None, _JSON.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
        )
    except (AttributeError, TypeError):
        return lambda value, _: _JSON.iterencode(value)


_json_parts = _json_encoder()


def encode_json(value: object) -> bytes:
    """Return `value` as JSON.

    Raises:
        InvalidJob: it cannot be expressed in JSON.
    """
    try:
        return "".join(_json_parts(value, 0)).encode()
    except Exception:
        # this one has better messages, also if the value contains itself
        try:
            return _JSON.encode(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidJob(
                f"json= cannot be expressed in JSON: {error}; give dicts, lists, str, finite numbers, bool and None"
            ) from error


def encode_multipart(files: object, form: object) -> tuple[str, bytes | BodyStream]:
    """Return the content type and the body of a `multipart/form-data` request.

    Files that are given as a path, an open file or an iterable are streamed.

    Raises:
        InvalidJob: a file is neither content nor (filename, content[, content_type[, length]]), an iterable comes
            without its length, or a file cannot be read.
    """
    boundary = f"fcgi-async-{os.urandom(16).hex()}"
    parts: list[bytes | BodyStream] = []
    for field, value in _form_fields(form):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(field.decode())}"\r\n\r\n'
        parts.append(b"".join((head.encode(), value, b"\r\n")))
    if not isinstance(files, Mapping):
        raise InvalidJob(f"files= must be a mapping of names to files, not {type(files).__name__}")
    for name, file in files.items():
        if not isinstance(name, str):
            raise InvalidJob(f"the name {name!r} in files must be a string, not {type(name).__name__}")
        filename, content, content_type = _file_part(name, file)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; '
            f'filename="{_quoted(filename)}"\r\nContent-Type: {content_type}\r\n\r\n'
        )
        parts += [to_utf8("files", head, name), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", _joined(parts)


def _form_fields(form: object) -> Iterable[tuple[bytes, bytes]]:
    if form is None:
        return []
    if isinstance(form, str):
        raise InvalidJob("form= together with files= must be a mapping or a sequence of pairs, not an encoded string")
    return form_fields("form", form)


def _file_part(name: str, file: object) -> tuple[str, bytes | BodyStream, str]:
    filename: object
    content_type: object
    length: object
    if not isinstance(file, list | tuple):
        filename, content, content_type, length = _own_name(file), file, None, None
    elif 2 <= len(file) <= 4:
        filename, content, content_type, length = (*file, None, None)[:4]
    else:
        raise InvalidJob(
            f"files[{name!r}] must be a path, an open file, bytes, str, or a tuple: "
            "(filename, content), (filename, content, content_type), or for an async iterable (..., length)"
        )
    if not (isinstance(filename, str) and isinstance(content_type, str | None)):
        raise InvalidJob(f"files[{name!r}]: filename and content_type must be strings")
    if content_type is None:
        content_type = guess_type(filename)[0] or _UNKNOWN_TYPE
    if "\r" in content_type or "\n" in content_type:
        raise InvalidJob(f"files[{name!r}]: the content type has a line break; remove it")
    return filename, _file_content(name, content, length), content_type


def _own_name(content: object) -> str:
    """Return the file's own name, or the name that browsers use for content without one."""
    name: object = content if isinstance(content, os.PathLike) else getattr(content, "name", None)
    if isinstance(name, str | os.PathLike):
        found = os.fspath(name)
        if isinstance(found, str):
            return PurePath(found).name or _NAMELESS
    return _NAMELESS


def _file_content(name: str, content: object, length: object) -> bytes | BodyStream:
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, str):
        return to_utf8("files", content, name)
    if isinstance(content, os.PathLike):
        return _file_stream(name, Path(content))
    if isinstance(content, AsyncIterable):
        if isinstance(length, int) and not isinstance(length, bool) and length >= 0:
            return BodyStream(length, opener(content), replayable=False)
    elif isinstance(content, io.TextIOBase) or isinstance(getattr(content, "encoding", None), str):
        raise InvalidJob(f'files[{name!r}] is a file opened as text; open it in binary mode, "rb"')
    elif isinstance(content, _Readable):
        return _open_file(name, content)
    raise InvalidJob(
        f"files[{name!r}]: the content must be bytes, str, a path, a file opened in binary mode, "
        f"or an async iterable of bytes with its length at the end; not {type(content).__name__}"
    )


def _file_stream(name: str, path: Path) -> BodyStream:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise InvalidJob(f"files[{name!r}]: {error}; give the path of a file that exists, or its content") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidJob(f"files[{name!r}]: {path} is not a regular file; give the path of one, or its content")

    async def read() -> AsyncIterator[bytes]:
        # anyio.open_file() loses the file if asyncio's task.cancel() comes while it is opened
        with path.open("rb") as file:
            while data := await anyio.to_thread.run_sync(file.read, _READ_SIZE):
                yield data

    return BodyStream(found.st_size, read, replayable=True)


def _open_file(name: str, file: _Readable) -> BodyStream:
    """Return a stream of the rest of an open file; it is read when the job runs, and not closed."""
    try:
        start = file.tell()
        length = file.seek(0, os.SEEK_END) - start
        file.seek(start)
    except (OSError, ValueError) as error:
        raise InvalidJob(
            f"files[{name!r}]: {error}; give a file of unknown length as an async iterable, with its length"
        ) from error
    lock = Lock()

    def read_at(offset: int) -> bytes:
        # the job may run several times at once, and the file has only one position
        with lock:
            file.seek(start + offset)
            return file.read(min(_READ_SIZE, length - offset))

    async def read() -> AsyncIterator[bytes]:
        offset = 0
        while offset < length and (data := await anyio.to_thread.run_sync(read_at, offset)):
            offset += len(data)
            yield data

    return BodyStream(length, read, replayable=True)


def _joined(parts: Sequence[bytes | BodyStream]) -> bytes | BodyStream:
    if all(isinstance(part, bytes) for part in parts):
        return b"".join(part for part in parts if isinstance(part, bytes))
    length = sum(len(part) if isinstance(part, bytes) else part.length for part in parts)
    replayable = all(isinstance(part, bytes) or part.replayable for part in parts)

    async def read() -> AsyncIterator[bytes]:
        for part in parts:
            if isinstance(part, bytes):
                yield part
                continue
            sent, source = 0, part.open()
            try:
                async for data in source:
                    sent += len(data)
                    yield data
            finally:
                await close_iterator(source)
            if sent != part.length:
                raise ValueError(f"a file of {part.length} bytes had {sent} when it was sent; make a new Job")

    return BodyStream(length, read, replayable)


def _quoted(value: str) -> str:
    # as browsers do (WHATWG HTML, multipart/form-data)
    return value.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
