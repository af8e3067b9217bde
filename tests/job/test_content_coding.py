"""Content-Encoding, undone within a bound."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from fcgi_async.job.content_coding import ContentTooLong, decode_content

TEXT = b"the text " * 100


def raw_deflate(content: bytes) -> bytes:
    """Deflate without zlib's header, as some servers send it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


@pytest.mark.parametrize(
    ("content", "codings"),
    [
        (TEXT, ""),
        (TEXT, "identity"),
        (gzip.compress(TEXT, mtime=0), "gzip"),
        (gzip.compress(TEXT, mtime=0), " X-GZip "),
        (gzip.compress(TEXT[:400], mtime=0) + gzip.compress(TEXT[400:], mtime=0), "gzip"),
        (gzip.compress(TEXT, mtime=0) + bytes(100), "gzip"),
        (zlib.compress(TEXT), "deflate"),
        (raw_deflate(TEXT), "deflate"),
        (gzip.compress(zlib.compress(TEXT), mtime=0), "deflate, gzip"),
        (gzip.compress(TEXT, mtime=0), "identity, gzip,"),
    ],
)
def test_known_codings(content: bytes, codings: str) -> None:
    """Gzip and deflate, in their variants, and one over the other, are undone in their order."""
    assert decode_content(content, codings, len(TEXT) * 2) == TEXT


@pytest.mark.parametrize("codings", ["gzip", "deflate", "x-gzip, deflate"])
def test_nothing_stays_nothing(codings: str) -> None:
    """The answer to HEAD names a coding and has no content."""
    assert decode_content(b"", codings, 0) == b""


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip2", "gzip; q=1"])
def test_unknown_coding(coding: str) -> None:
    """What the standard library cannot decode is refused by its name."""
    with pytest.raises(ValueError, match=f"'{coding}' is not known, only gzip and deflate are"):
        decode_content(gzip.compress(TEXT, mtime=0), f"gzip, {coding}", 10_000)


@pytest.mark.parametrize(
    ("content", "coding", "message"),
    [
        (TEXT, "gzip", "the body is not gzip: .*incorrect header"),
        (TEXT, "deflate", "the body is not deflate"),
        (gzip.compress(TEXT, mtime=0)[:-1], "gzip", "the body is not gzip: it ends too early"),
        (gzip.compress(TEXT, mtime=0)[:-5] + b"\0\0\0\0\0", "gzip", "the body is not gzip: .*incorrect"),
        (gzip.compress(TEXT, mtime=0) + b"more", "gzip", "the body is not gzip"),
        (zlib.compress(TEXT)[:-8], "deflate", "the body is not deflate"),
        (gzip.compress(b"", mtime=0) * 101, "gzip", "it has more than 100 members"),
    ],
)
def test_content_in_another_form(content: bytes, coding: str, message: str) -> None:
    """What is cut, damaged or not what it is called is refused."""
    with pytest.raises(ValueError, match=message):
        decode_content(content, coding, 10_000)


def test_too_many_codings() -> None:
    """A head has room for thousands, and each could be as large as the limit."""
    with pytest.raises(ValueError, match="more than 5 codings"):
        decode_content(b"x", ", ".join(["deflate"] * 6), 10)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, raw_deflate])
def test_limit(compress: object) -> None:
    """Content of the limit passes, a byte more does not, in one member or in several."""
    assert callable(compress)
    coding = "gzip" if compress is gzip.compress else "deflate"
    whole = compress(TEXT)
    assert decode_content(whole, coding, len(TEXT)) == TEXT
    with pytest.raises(ContentTooLong):
        decode_content(whole, coding, len(TEXT) - 1)
    members = gzip.compress(TEXT[:1], mtime=0) + gzip.compress(TEXT[1:], mtime=0)
    assert decode_content(members, "gzip", len(TEXT)) == TEXT
    with pytest.raises(ContentTooLong):
        decode_content(members, "gzip", len(TEXT) - 1)


def test_bomb() -> None:
    """Of content that would outgrow the limit no more than the limit is ever in memory."""
    bomb = gzip.compress(bytes(200_000_000), 9, mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(ContentTooLong):
            decode_content(bomb, "gzip", 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
