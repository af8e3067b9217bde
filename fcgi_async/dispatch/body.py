"""Request bodies: bytes, or a stream of known length."""

from __future__ import annotations

import json as json_module
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import anyio.to_thread
import attrs

from fcgi_async.dispatch.closing import close_iterator
from fcgi_async.errors import InvalidJob

__all__ = (
    "BodyStream",
    "FileContent",
    "Pairs",
    "encode_form",
    "encode_json",
    "encode_multipart",
    "encode_pairs",
    "opener",
)

# what `query` and `form` may be
Pairs = Mapping[str, object] | Sequence[tuple[str, object]] | str
FileContent = bytes | str | os.PathLike[str] | AsyncIterable[bytes]

_READ_SIZE = 256 * 1024


@attrs.frozen(eq=False)
class BodyStream:
    """A body that comes in parts.

    Attributes:
        length: bytes in all; PHP-FPM takes no body of unknown length.
        open: returns the parts.
        replayable: whether `open` can be called again.
    """

    length: int
    open: Callable[[], AsyncIterator[bytes]]
    replayable: bool


def opener(content: AsyncIterable[bytes]) -> Callable[[], AsyncIterator[bytes]]:
    """Return what opens a caller's iterable; an iterator is opened once, and says so when asked again."""
    used = False

    def open_once() -> AsyncIterator[bytes]:
        nonlocal used
        if used and isinstance(content, AsyncIterator):
            raise ValueError("the body is an iterator and was sent before; make a new Job with a new one")
        used = True
        return aiter(content)

    return open_once


def encode_json(value: object) -> bytes:
    """Return `value` as JSON.

    Raises:
        InvalidJob: it cannot be expressed in JSON.
    """
    try:
        return json_module.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(f"json= cannot be expressed in JSON: {error}") from error


def encode_pairs(name: str, pairs: Pairs) -> str:
    """Return pairs percent-encoded; a list as a value gives the name several times, as `name[]` in PHP wants it.

    Raises:
        InvalidJob: it is no mapping, sequence of pairs or string.
    """
    if isinstance(pairs, str):
        return pairs
    try:
        return urlencode(list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs), doseq=True)
    except (TypeError, ValueError) as error:
        raise InvalidJob(f"{name}= is a mapping, a sequence of pairs or an encoded string: {error}") from error


def encode_form(form: Pairs) -> bytes:
    """Return a form as `application/x-www-form-urlencoded`."""
    return _utf8("form=", encode_pairs("form", form))


def encode_multipart(files: Mapping[str, Sequence[object]], form: Pairs | None) -> tuple[str, bytes | BodyStream]:
    """Return the content type and the body of a `multipart/form-data` request.

    Files given by path or iterable are streamed.

    Raises:
        InvalidJob: a file is not (filename, content, content_type) with content of bytes, str or a path, nor
            (filename, async iterable, content_type, length); or a path that cannot be read.
    """
    boundary = f"fcgi-async-{os.urandom(16).hex()}"
    parts: list[bytes | BodyStream] = []
    for name, value in _form_fields(form):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
        parts.append(b"".join((_utf8("form=", head), value, b"\r\n")))
    if not isinstance(files, Mapping):
        raise InvalidJob(f"files= is a mapping of names to files, not {type(files).__name__}")
    for name, file in files.items():
        if not isinstance(name, str):
            raise InvalidJob(f"the name {name!r} in files is a string, not {type(name).__name__}")
        filename, content, content_type = _file_part(name, file)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; '
            f'filename="{_quoted(filename)}"\r\nContent-Type: {content_type}\r\n\r\n'
        )
        parts += [_utf8(f"files[{name!r}]", head), content, b"\r\n"]
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", _joined(parts)


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidJob(f"{what} cannot be encoded: {error}") from None


def _form_fields(form: Pairs | None) -> Iterable[tuple[str, bytes]]:
    if form is None:
        return []
    if isinstance(form, str):
        raise InvalidJob("form= beside files= is a mapping or a sequence of pairs, not an encoded string")
    fields: list[tuple[str, bytes]] = []
    try:
        for name, value in form.items() if isinstance(form, Mapping) else form:
            values = value if isinstance(value, list | tuple) else [value]
            # bytes as they are, the rest as urlencode() writes it
            fields += [(str(name), v if isinstance(v, bytes) else _utf8("form=", str(v))) for v in values]
    except InvalidJob:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidJob(f"form= is a mapping or a sequence of pairs: {error}") from error
    return fields


def _file_part(name: str, file: Sequence[object]) -> tuple[str, bytes | BodyStream, str]:
    if not isinstance(file, list | tuple) or len(file) not in (3, 4):
        raise InvalidJob(
            f"files[{name!r}] is (filename, content, content_type), or with the length of an async iterable behind"
        )
    filename, content, content_type = file[:3]
    if not (isinstance(filename, str) and isinstance(content_type, str)):
        raise InvalidJob(f"files[{name!r}]: filename and content_type are strings")
    if "\r" in content_type or "\n" in content_type:
        raise InvalidJob(f"files[{name!r}]: the content type has a line break")
    if isinstance(content, bytes | bytearray | memoryview):
        return filename, bytes(content), content_type
    if isinstance(content, str):
        return filename, _utf8(f"files[{name!r}]", content), content_type
    if isinstance(content, os.PathLike):
        return filename, _file_stream(name, Path(content)), content_type
    length = file[3] if len(file) == 4 else None
    if isinstance(content, AsyncIterable) and isinstance(length, int) and length >= 0:
        return filename, BodyStream(length, opener(content), replayable=False), content_type
    raise InvalidJob(
        f"files[{name!r}]: the content is bytes, str, a path, or an async iterable of bytes with its length behind"
    )


def _file_stream(name: str, path: Path) -> BodyStream:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidJob(f"files[{name!r}]: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidJob(f"files[{name!r}]: {path} is not a regular file")

    async def read() -> AsyncIterator[bytes]:
        # anyio.open_file() loses the file where asyncio's task.cancel() meets its opening
        with path.open("rb") as file:
            while data := await anyio.to_thread.run_sync(file.read, _READ_SIZE):
                yield data

    return BodyStream(found.st_size, read, replayable=True)


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
                raise ValueError(f"a file of {part.length} bytes turned out to have {sent}")

    return BodyStream(length, read, replayable)


def _quoted(value: str) -> str:
    # as browsers do (WHATWG HTML, multipart/form-data)
    return value.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
