"""Target: the parser of CGI heads."""

from __future__ import annotations

import re
from random import Random

import attrs

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire import cgi
from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge
from tests.fuzz.grammar import Grammar, spoil
from tests.fuzz.target import Outcome, Target, pieces, salt

LIMIT = 512
# the head ends at the first empty line, whichever way its lines end
END = re.compile(rb"(?:[^\n]*\n)*?\r?\n")
STATUS = re.compile(rb"^status:[ \t]*([0-9]{3})", re.IGNORECASE | re.MULTILINE)
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
NAMES = (b"Status", b"status", b"Location", b"Content-type", b"Set-Cookie", b"X", b"", b"X Y", b"X\xe4", b"\0")
VALUES = (
    b"200 OK",
    b"404",
    b"99",
    b"1000",
    b"2\xb24",
    b"\xb2\xb2\xb2",
    b"-10",
    b"",
    b" ",
    b"/x",
    b"a: b",
    b"\t",
    b"\xff",
)
ENDS = (b"\n", b"\r\n", b"\n ", b"\r\n\t", b"\r", b"\r\r\n", b"\n\n", b"\0\n", b"")


def split(data: bytes) -> list[bytes]:
    """Cut behind every LF."""
    return re.findall(rb"[^\n]*\n|[^\n]+", data)


def fresh(rng: Random) -> bytes:
    """A line, mostly a header."""
    end = rng.choice(ENDS[:2]) if rng.random() < 0.7 else rng.choice(ENDS)
    what = rng.random()
    if what < 0.1:
        return end
    if what < 0.2:
        return rng.choice((b" ", b"\t", b"  \t")) + rng.choice(VALUES) + end
    long = b"x" * rng.choice((1, 50, 200, 510, 511, 512, 513)) if what > 0.95 else b""
    names = NAMES[:6] if rng.random() < 0.85 else NAMES
    return rng.choice(names) + rng.choice((b": ", b":", b":", b": \t", b"")) + rng.choice(VALUES) + long + end


def change(rng: Random, unit: bytes) -> bytes:
    """Alter the end of a line, its value, or any byte."""
    what = rng.random()
    if what < 0.3:
        return unit.rstrip(b"\r\n") + rng.choice(ENDS)
    if what < 0.6:
        return unit.partition(b":")[0] + b": " + rng.choice(VALUES) + rng.choice(ENDS[:2])
    return spoil(rng, unit)


def drive_head(data: bytes) -> Outcome:
    """Parse an input whole and in pieces, and check the head that comes of it."""
    outcome, shape = _outcome([data])
    assert outcome == _outcome(pieces(data, salt(data)))[0], "the cuts make a difference"
    end = END.match(data)
    if isinstance(outcome, bytes):
        assert end is None
        assert outcome == data
        assert len(outcome) <= LIMIT + 1
    elif isinstance(outcome[0], CGIHead):
        assert end is not None
        assert outcome[1] == data[end.end() :]
        _check_head(outcome[0])
        # one code, however often it is said
        said = {int(code) for code in STATUS.findall(data[: end.end()])}
        assert said <= {outcome[0].status}
        return Outcome(True, shape)
    return Outcome(_takes_first_line(data), shape)


def _outcome(parts: list[bytes]) -> tuple[bytes | tuple[object, object], frozenset[object]]:
    # a head that was seen before would not be parsed again
    cgi._remembered.clear()
    parser = HeadParser(LIMIT)
    for number, part in enumerate(parts):
        try:
            result = parser.feed(part)
        except (RemoteProtocolError, HeadTooLarge) as error:
            return (type(error), str(error)), frozenset((type(error), str(error)[:40]))
        assert len(parser.pending) <= LIMIT + 1, "too much is held"
        if result is not None:
            head, body = result
            return (head, body + b"".join(parts[number + 1 :])), frozenset((head.status // 100, len(head.headers)))
    return parser.pending, frozenset()


def _check_head(head: CGIHead) -> None:
    assert 200 <= head.status <= 599
    for name, value in head.headers:
        assert NAME.fullmatch(name)
        assert name.lower() != "status"
        assert not set(value) & set("\r\n\0")
        assert value == value.strip(" \t")
    lines = [f"Status: {head.status}", *(f"{name}: {value}" for name, value in head.headers), "", ""]
    again = HeadParser(10 * LIMIT).feed("\r\n".join(lines).encode("latin-1"))
    assert again == (attrs.evolve(head, dropped=()), b"")


def _takes_first_line(data: bytes) -> bool:
    line, end, _ = data.partition(b"\n")
    if not end:
        return False
    try:
        HeadParser(LIMIT).feed(line + b"\n\n")
    except (RemoteProtocolError, HeadTooLarge):
        return False
    return True


SEEDS = (
    b"Content-type: text/html; charset=UTF-8\r\n\r\nhello",
    b"Status: 404 Not Found\r\nContent-type: text/html\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n\r\nbody",
    b"Location: /elsewhere\nX: folded\n line\n\tand more\n\n",
    b"X-Powered-By: PHP/8.2\r\nstatus: 204\r\n\r\n",
    b"Status: 200\nStatus: 200\n\n",
    b"\r\nonly a body",
    b"\nonly a body",
    b"",
)
HEAD = Target("CGI head", "header line", drive_head, Grammar(split, fresh, change), SEEDS, ("cgi.py",))
