"""Large responses are joined in blocks that are used again."""

from __future__ import annotations

import pytest

from fcgi_async.errors import ResponseTooLarge
from fcgi_async.pool.blocks import Blocks, Joined
from fcgi_async.pool.sink import CollectingSink

MIB = 1 << 20
HEAD = b"Content-Type: text/plain\r\n\r\n"
PART = b"x" * 65_000


def collected(blocks: Blocks, *parts: bytes) -> bytes:
    sink = CollectingSink(8192, 64 * MIB, blocks)
    sink.feed(HEAD)
    for part in parts:
        sink.feed(part)
    return sink.content()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 20, 200])
def test_parts_of_any_number_are_joined(count: int) -> None:
    """In their order, whether they fit into the first block or not."""
    parts = [bytes([n]) * 65_535 for n in range(count)]
    assert collected(Blocks(), *parts) == b"".join(parts)


def test_content_is_told_again() -> None:
    """Reading it twice gives the same."""
    sink = CollectingSink(8192, MIB, Blocks())
    for part in (HEAD, PART, PART, PART):
        sink.feed(part)
    assert sink.content() == sink.content() == 3 * PART


def test_a_block_is_used_again_and_its_content_stays() -> None:
    """The next response goes into the same block; what the caller has of the one before does not change."""
    blocks = Blocks()
    block = blocks.take()
    blocks.give_back(block)
    first = collected(blocks, b"a" * 65_000, b"b" * 65_000, b"c" * 65_000)
    second = collected(blocks, b"d" * 65_000, b"e" * 65_000, b"f" * 65_000)
    assert (first[0], first[-1], second[0], second[-1]) == (ord("a"), ord("c"), ord("d"), ord("f"))
    assert blocks.take() is block


def test_two_at_once_have_a_block_each() -> None:
    """Responses that come at the same time do not mix."""
    blocks = Blocks()
    one, other = Joined(blocks), Joined(blocks)
    for _ in range(3):
        one.add(b"1")
        other.add(b"2")
    assert (one.take(), other.take()) == (b"111", b"222")


@pytest.mark.parametrize("tried_again", [False, True])
def test_a_response_that_failed_gives_its_block_back(tried_again: bool) -> None:
    """One that passes its limit, and one that is tried again."""
    blocks = Blocks()
    block = blocks.take()
    blocks.give_back(block)
    sink = CollectingSink(8192, MIB, blocks)
    for part in (HEAD, PART, PART, PART):
        sink.feed(part)
    if tried_again:
        sink.restart()
    else:
        sink.fail(ResponseTooLarge("too large"))
    assert sink.content() == b""
    assert blocks.take() is block


def test_no_more_than_some_megabytes_are_kept() -> None:
    """A very large block goes back to the system, and so does a fifth one."""
    blocks = Blocks()
    huge = bytearray(16 * MIB)
    blocks.give_back(huge)
    assert blocks.take() is not huge
    given = [bytearray(1) for _ in range(5)]
    for block in given:
        blocks.give_back(block)
    taken = [blocks.take() for _ in range(5)]
    assert [any(block is one for one in given) for block in taken] == [True] * 4 + [False]
