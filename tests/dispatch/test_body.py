"""Multipart bodies: what PHP will parse, streamed where a file is."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import pytest

from fcgi_async.dispatch.body import BodyStream, encode_multipart
from fcgi_async.errors import InvalidJob

pytestmark = pytest.mark.anyio

Files = Mapping[str, Sequence[object]]


def parsed(content_type: str, body: bytes) -> list[tuple[str | None, str | None, str | None, bytes]]:
    """A multipart body as an independent parser reads it: name, filename, type and content of each part."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    found: list[tuple[str | None, str | None, str | None, bytes]] = []
    for part in parts:
        assert isinstance(part, Message)
        name = part.get_param("name", header="content-disposition")
        kind = part["content-type"]
        content = part.get_payload(decode=True)
        assert isinstance(name, str)
        assert isinstance(content, bytes)
        found.append((name, part.get_filename(), None if kind is None else str(kind), content))
    return found


async def collected(body: bytes | BodyStream) -> bytes:
    """The whole body; a stream keeps to its length."""
    if isinstance(body, bytes):
        return body
    data = b"".join([part async for part in body.open()])
    assert len(data) == body.length
    return data


async def in_parts(*parts: bytes) -> AsyncIterator[bytes]:
    """An async iterable of bytes."""
    for part in parts:
        yield part


async def test_fields_and_files() -> None:
    """Fields come first, then files with their names and types; what is in memory stays bytes."""
    form = {"title": "a & b", "n": 7, "raw": b"\xff", "tags[]": ["x", "y"]}
    content_type, body = encode_multipart(
        {"doc": ("a.txt", b"\x00\r\n--bytes", "text/plain"), "page": ["b.html", "é", "text/html"]}, form
    )
    assert isinstance(body, bytes)
    assert parsed(content_type, body) == [
        ("title", None, None, b"a & b"),
        ("n", None, None, b"7"),
        ("raw", None, None, b"\xff"),
        ("tags[]", None, None, b"x"),
        ("tags[]", None, None, b"y"),
        ("doc", "a.txt", "text/plain", b"\x00\r\n--bytes"),
        ("page", "b.html", "text/html", "é".encode()),
    ]


async def test_form_as_pairs() -> None:
    """Fields may be pairs, repeated and in their order."""
    content_type, body = encode_multipart({}, [("b", "1"), ("a", "2"), ("b", "3")])
    assert [part[::3] for part in parsed(content_type, await collected(body))] == [
        ("b", b"1"),
        ("a", b"2"),
        ("b", b"3"),
    ]


async def test_file_by_path(tmp_path: Path) -> None:
    """A file given by path is read when it is sent, in parts, and can be sent again."""
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(700_000))
    content_type, body = encode_multipart({"file": ("x.bin", path, "application/octet-stream")}, None)
    assert isinstance(body, BodyStream)
    assert body.replayable
    for _ in range(2):
        assert max([len(part) async for part in body.open()]) < 700_000
        assert parsed(content_type, await collected(body))[0][3] == path.read_bytes()


async def test_async_iterable_with_its_length() -> None:
    """An async iterable is sent as it comes, once."""
    content_type, body = encode_multipart({"file": ("x", in_parts(b"ab", b"", b"c"), "a/b", 3)}, {"k": "v"})
    assert isinstance(body, BodyStream)
    assert not body.replayable
    assert parsed(content_type, await collected(body)) == [("k", None, None, b"v"), ("file", "x", "a/b", b"abc")]


@pytest.mark.parametrize("length", [2, 4])
async def test_file_of_another_length(length: int) -> None:
    """An iterable that does not keep to its length is found out before the parts behind it are sent in its place."""
    _, body = encode_multipart({"file": ("x", in_parts(b"abc"), "a/b", length)}, None)
    assert isinstance(body, BodyStream)
    with pytest.raises(ValueError, match=f"a file of {length} bytes turned out to have 3"):
        async for _ in body.open():
            pass


async def test_file_that_changes_while_it_waits(tmp_path: Path) -> None:
    """A file that was shortened after the job was made is found out."""
    path = tmp_path / "file"
    path.write_bytes(b"long enough")
    _, body = encode_multipart({"file": ("x", path, "a/b")}, None)
    path.write_bytes(b"short")
    assert isinstance(body, BodyStream)
    with pytest.raises(ValueError, match="a file of 11 bytes turned out to have 5"):
        async for _ in body.open():
            pass


async def test_names_are_quoted() -> None:
    """Quotes and line breaks in names cannot end the header that they stand in."""
    _, body = encode_multipart({'a"b\r\nX: y': ('c"\nd', b"", "a/b")}, {'e"\r': "f"})
    assert isinstance(body, bytes)
    assert b'name="a%22b%0D%0AX: y"; filename="c%22%0Ad"\r\n' in body
    assert b'name="e%22%0D"\r\n' in body


async def test_boundaries_differ() -> None:
    """A boundary cannot be guessed from the one before."""
    assert encode_multipart({}, None)[0] != encode_multipart({}, None)[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"f": b"bytes"}, r"files\['f'\] is \(filename, content, content_type\)"),
        ({"f": ("a", b"b")}, r"files\['f'\] is \(filename, content, content_type\)"),
        ({"f": ("a", b"b", "c", 1, 2)}, r"files\['f'\] is \(filename, content, content_type\)"),
        ({"f": 7}, r"files\['f'\] is \(filename, content, content_type\)"),
        ({"f": (None, b"b", "a/b")}, "filename and content_type are strings"),
        ({"f": ("a", b"b", None)}, "filename and content_type are strings"),
        ({"f": ("a", b"b", "a/b\r\nX: y")}, "the content type has a line break"),
        (
            {"f": ("a", 7, "a/b")},
            "the content is bytes, str, a path, or an async iterable of bytes with its length behind",
        ),
        ({"f": ("a", in_parts(), "a/b")}, "an async iterable of bytes with its length behind"),
        ({"f": ("a", in_parts(), "a/b", -1)}, "an async iterable of bytes with its length behind"),
        ({"f": ("a", Path("/nowhere/at all"), "a/b")}, "No such file"),
        ({"f": ("a", Path("/"), "a/b")}, "/ is not a regular file"),
        ({"f": ("\ud800", b"", "a/b")}, "cannot be encoded"),
        ({"f": ("a", "\ud800", "a/b")}, "cannot be encoded"),
        ({7: ("a", b"", "a/b")}, "the name 7 in files is a string, not int"),
    ],
    ids=str,
)
async def test_bad_files(files: Files, message: str) -> None:
    """A file that cannot be sent is refused where the job is made."""
    with pytest.raises(InvalidJob, match=message):
        encode_multipart(files, None)


@pytest.mark.parametrize("form", ["a=1", [("a", "b", "c")], 7, {"a": "\ud800"}], ids=str)
async def test_bad_form_beside_files(form: object) -> None:
    """An encoded string has no fields to put beside files; nor has anything else that is no mapping or pairs."""
    with pytest.raises(InvalidJob, match="form="):
        encode_multipart({}, form)  # type: ignore[arg-type]


async def test_bad_mapping() -> None:
    """files= is a mapping."""
    with pytest.raises(InvalidJob, match="files= is a mapping"):
        encode_multipart([("f", ("a", b"", "a/b"))], None)  # type: ignore[arg-type]
