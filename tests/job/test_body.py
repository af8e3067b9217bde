"""Multipart bodies: what PHP will parse, streamed where a file is."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import anyio
import pytest

from fcgi_async.errors import InvalidJob
from fcgi_async.job.body import BodyStream, File, encode_multipart
from fcgi_async.job.job import Job
from tests.ids import readable

pytestmark = pytest.mark.anyio

Files = Mapping[str, File]


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
    form = {"title": "a & b", "n": 7, "raw": b"\xff", "tags": ["x", {"y": True}], "none": None}
    content_type, body = encode_multipart(
        {"doc": ("a.txt", b"\x00\r\n--bytes", "text/plain"), "page": ["b.html", "é", "text/html"]}, form
    )
    assert isinstance(body, bytes)
    assert parsed(content_type, body) == [
        ("title", None, None, b"a & b"),
        ("n", None, None, b"7"),
        ("raw", None, None, b"\xff"),
        ("tags[0]", None, None, b"x"),
        ("tags[1][y]", None, None, b"1"),
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


@pytest.mark.parametrize(
    ("content", "filename", "content_type"),
    [
        (lambda: b"body", "upload", "application/octet-stream"),
        (lambda: "body", "upload", "application/octet-stream"),
        (lambda: io.BytesIO(b"body"), "upload", "application/octet-stream"),
        (lambda: ("a.csv", b"body"), "a.csv", "text/csv"),
        (lambda: ("a.csv", io.BytesIO(b"body"), "a/b"), "a.csv", "a/b"),
        (lambda: ("a.unheard-of", b"body"), "a.unheard-of", "application/octet-stream"),
        (lambda: ("a", in_parts(b"body"), None, 4), "a", "application/octet-stream"),
    ],
)
async def test_name_and_type_that_were_not_given(content: Callable[[], File], filename: str, content_type: str) -> None:
    """The extension tells the type, and what has no name is an upload."""
    header, body = encode_multipart({"f": content()}, None)
    assert parsed(header, await collected(body)) == [("f", filename, content_type, b"body")]


async def test_path_and_open_file_by_themselves(tmp_path: Path) -> None:
    """A path and a file opened by its name bring the name along."""
    path = tmp_path / "photo.png"
    path.write_bytes(b"pixels")
    with path.open("rb") as file:
        for content in (path, file):
            content_type, body = encode_multipart({"f": content}, None)
            assert parsed(content_type, await collected(body)) == [("f", "photo.png", "image/png", b"pixels")]


async def test_open_file_is_sent_from_where_it_stands() -> None:
    """What was read before is not sent, and sending it again, at the same time too, begins at the same place."""
    content = os.urandom(700_000)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"read before" + content)
        file.seek(len(b"read before"))
        content_type, body = encode_multipart({"f": ("x", file)}, None)
        assert isinstance(body, BodyStream)
        assert body.replayable
        bodies: list[bytes] = []

        async def collect() -> None:
            bodies.append(await collected(body))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(collect)
        assert [parsed(content_type, found)[0][3] == content for found in bodies] == [True] * 3
        assert not file.closed


async def test_open_file_without_a_length() -> None:
    """A pipe has no length, and a closed file none any more."""
    reading, writing = os.pipe()
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: ASYNC230 - a pipe
        with pytest.raises(InvalidJob, match="give a file of unknown length as an async iterable"):
            encode_multipart({"f": pipe}, None)
    with pytest.raises(InvalidJob, match="closed file"):
        encode_multipart({"f": pipe}, None)


@pytest.mark.parametrize("length", [2, 4])
async def test_file_of_another_length(length: int) -> None:
    """An iterable that does not keep to its length is found out before the parts behind it are sent in its place."""
    _, body = encode_multipart({"file": ("x", in_parts(b"abc"), "a/b", length)}, None)
    assert isinstance(body, BodyStream)
    with pytest.raises(ValueError, match=f"a file of {length} bytes had 3 when it was sent"):
        async for _ in body.open():
            pass


async def test_file_that_changes_while_it_waits(tmp_path: Path) -> None:
    """A file that was shortened after the job was made is found out."""
    path = tmp_path / "file"
    path.write_bytes(b"long enough")
    _, body = encode_multipart({"file": ("x", path, "a/b")}, None)
    path.write_bytes(b"short")
    assert isinstance(body, BodyStream)
    with pytest.raises(ValueError, match="a file of 11 bytes had 5 when it was sent"):
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
        ({"f": ("a",)}, r"files\['f'\] must be a path, an open file, bytes, str, or a tuple: \(filename, content\)"),
        ({"f": ("a", b"b", "c", 1, 2)}, r"files\['f'\] must be a path, an open file, bytes, str, or a tuple"),
        ({"f": 7}, r"files\['f'\]: the content must be bytes, str, .* not int"),
        ({"f": None}, r"files\['f'\]: the content must be bytes, str, .* not NoneType"),
        ({"f": in_parts()}, "an async iterable of bytes with its length at the end; not async_generator"),
        ({"f": io.StringIO("text")}, r'files\[\'f\'\] is a file opened as text; open it in binary mode, "rb"'),
        ({"f": Path("/nowhere/at all")}, "No such file"),
        ({"f": Path("a\0b")}, "null byte"),
        ({"f": (None, b"b", "a/b")}, "filename and content_type must be strings"),
        ({"f": ("a", b"b", 7)}, "filename and content_type must be strings"),
        ({"f": ("a", b"b", "a/b\r\nX: y")}, "the content type has a line break"),
        (
            {"f": ("a", 7, "a/b")},
            "the content must be bytes, str, a path, a file opened in binary mode, or an async iterable of bytes",
        ),
        ({"f": ("a", in_parts(), "a/b")}, "an async iterable of bytes with its length at the end"),
        ({"f": ("a", in_parts(), "a/b", -1)}, "an async iterable of bytes with its length at the end"),
        ({"f": ("a", Path("/nowhere/at all"), "a/b")}, "No such file"),
        ({"f": ("a", Path("/"), "a/b")}, "/ is not a regular file"),
        ({"f": ("\ud800", b"", "a/b")}, "cannot be encoded"),
        ({"f": ("a", "\ud800", "a/b")}, "cannot be encoded"),
        ({7: ("a", b"", "a/b")}, "the name 7 in files must be a string, not int"),
    ],
    ids=readable,
)
async def test_bad_files(files: Files, message: str) -> None:
    """A file that cannot be sent is refused where the job is made."""
    with pytest.raises(InvalidJob, match=message):
        encode_multipart(files, None)


@pytest.mark.parametrize("form", ["a=1", [("a", "b", "c")], 7, {"a": "\ud800"}], ids=str)
async def test_bad_form_beside_files(form: object) -> None:
    """An encoded string has no fields to put beside files; nor has anything else that is no mapping or pairs."""
    with pytest.raises(InvalidJob, match="form"):
        encode_multipart({}, form)


async def test_bad_mapping() -> None:
    """files= is a mapping."""
    with pytest.raises(InvalidJob, match="files= must be a mapping"):
        encode_multipart([("f", ("a", b"", "a/b"))], None)


@pytest.mark.parametrize(("says", "replayable"), [(True, True), (False, False), (1, False)])
def test_iterable_that_can_be_read_again(says: object, replayable: bool) -> None:
    """It has to say so: many iterables of bytes are read once."""

    class Content:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"ab"

    content = Content()
    content.replayable = says  # type: ignore[attr-defined]
    body = Job("/a.php", content=content, content_length=2).body
    assert isinstance(body, BodyStream)
    assert body.replayable is replayable
