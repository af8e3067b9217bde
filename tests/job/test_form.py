"""Forms and queries: the names and values that PHP's http_build_query() would write."""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_plus

import pytest

from fcgi_async.errors import InvalidJob
from fcgi_async.job.form import encode_form, encode_pairs, form_fields
from tests.ids import readable


class Colour(enum.StrEnum):
    """A string with a name."""

    RED = "red"


class Level(enum.IntEnum):
    """A number with a name."""

    HIGH = 3


def nested(levels: int) -> object:
    """A value in so many mappings."""
    value: object = "x"
    for _ in range(levels):
        value = {"b": value}
    return value


@pytest.mark.parametrize(
    ("pairs", "query"),
    [
        ({}, ""),
        ("already=%41&encoded", "already=%41&encoded"),
        ({"a": {"b": "c"}}, "a[b]=c"),
        ({"a": {"b": {"c": 1, "d": 2}}}, "a[b][c]=1&a[b][d]=2"),
        ({"a": ["x", "y"]}, "a[0]=x&a[1]=y"),
        ({"a": ("x", ["y"])}, "a[0]=x&a[1][0]=y"),
        ({"a": [{"b": 1}, {"b": 2}]}, "a[0][b]=1&a[1][b]=2"),
        ({"a": True, "b": False}, "a=1&b=0"),
        ({"a": None, "b": {"c": None, "d": 1}, "e": [None, 2]}, "b[d]=1&e[1]=2"),
        ({"a": [], "b": {}, "c": ""}, "c="),
        ({7: "a", "b": {8: "c", True: "d"}}, "7=a&b[8]=c&b[1]=d"),
        ({"a[]": ["x"]}, "a[][0]=x"),
        ({"a": b"b"}, "a=b"),
        ({"a": bytearray(b"b"), "c": memoryview(b"d")}, "a=b&c=d"),
        ({Colour.RED: Colour.RED, Level.HIGH: Level.HIGH}, "red=red&3=3"),
        (MappingProxyType({"a": OrderedDict(b=1)}), "a[b]=1"),
        ({"a": range(2), "b": deque([3])}, "a[0]=0&a[1]=1&b[0]=3"),
        ([("a", 1), ("b", 2), ("a", 3)], "a=1&b=2&a=3"),
        ([("a", [1, 2]), ("a", {"b": 3}), ("a", None)], "a[0]=1&a[1]=2&a[b]=3"),
        ((["a", 1],), "a=1"),
    ],
    ids=readable,
)
def test_names(pairs: Any, query: str) -> None:
    """What is nested is named by its path, in brackets; pairs stay pairs."""
    assert unquote_plus(encode_pairs("query", pairs)) == unquote_plus(query)


def test_characters() -> None:
    """Names and values are UTF-8, and encoded as PHP does: the tilde too, and a blank is a plus."""
    assert encode_pairs("query", {"a b": "~ -_.*+/%é"}) == "a+b=%7E+-_.%2A%2B%2F%25%C3%A9"
    assert encode_pairs("query", {"a": b"\xff\x00"}) == "a=%FF%00"
    assert encode_form({"a": {"é": "~"}}) == b"a%5B%C3%A9%5D=%7E"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e16, "10000000000000000"),
        (1e17, "1.0E+17"),
        (1.5e-7, "1.5E-7"),
        (0.0001, "0.0001"),
        (-1.25e300, "-1.25E+300"),
        (math.inf, "INF"),
        (-math.inf, "-INF"),
        (math.nan, "NAN"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_numbers(number: float, text: str) -> None:
    """No digit is lost, and none is added."""
    assert form_fields("query", {"a": number}) == [(b"a", text.encode())]


def test_depth() -> None:
    """PHP takes 64 brackets in a name and drops what has more."""
    assert encode_pairs("query", {"a": nested(64)}) == "a" + "%5Bb%5D" * 64 + "=x"
    with pytest.raises(InvalidJob, match=r"query= is nested more than 64 levels deep.*json="):
        encode_pairs("query", {"a": nested(65)})
    with pytest.raises(InvalidJob, match="nested more than 64 levels"):
        encode_pairs("query", {"a": nested(100_000)})


def test_cycle() -> None:
    """What contains itself is refused; what only stands twice is not."""
    cycle: dict[str, object] = {"again": [1]}
    cycle["again"] = [cycle, cycle]
    for pairs in (cycle, {"a": cycle}, [("a", cycle)]):
        with pytest.raises(InvalidJob, match="form= contains itself, at "):
            encode_form(pairs)
    twice = [1]
    assert encode_pairs("query", {"a": twice, "b": {"c": twice}}) == "a%5B0%5D=1&b%5Bc%5D%5B0%5D=1"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (7, "form= must be a mapping, a sequence of pairs or an encoded string, not int; raw bytes go into content="),
        (b"a=1", "form= must be a mapping, a sequence of pairs or an encoded string, not bytes"),
        ({("a", "b")}, "form= must be a mapping, a sequence of pairs or an encoded string, not set"),
        (["ab"], r"form= must have pairs of \(name, value\), not str"),
        ([("a", "b", "c")], r"form= must have pairs of \(name, value\), not tuple"),
        ({"a": {1, 2}}, r"form\['a'\] is of type set, which a query cannot express"),
        ({"a": {"b": [object()]}}, r"form\['a\[b\]\[0\]'\] is of type object, which a query cannot express"),
        ({"a": date(2024, 1, 1)}, r"form\['a'\] is of type date, which a query cannot express"),
        ({"a": Decimal(1)}, r"form\['a'\] is of type Decimal, which a query cannot express"),
        ({"a": 1j}, r"form\['a'\] is of type complex, which a query cannot express"),
        ({"a": (n for n in (1, 2))}, r"form\['a'\] is of type generator, which a query cannot express"),
        ({None: 1}, "a name in form= must be a string or a whole number, not NoneType"),
        ({"a": {b"b": 1}}, "a name in form= must be a string or a whole number, not bytes"),
        ({1.5: 1}, "a name in form= must be a string or a whole number, not float"),
        ({"a": "\ud800"}, r"form\['a'\] cannot be encoded"),
        ({"\ud800": 1}, "form= cannot be encoded"),
        ({"a": {"\ud800": 1}}, "form= cannot be encoded"),
        ({"a": 10**5000}, "form= has a number that is too long"),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_refused(pairs: Any, message: str) -> None:
    """What PHP has no form for is refused, with its name and its type."""
    with pytest.raises(InvalidJob, match=message):
        encode_pairs("form", pairs)


def test_what_is_given_is_not_changed() -> None:
    """The caller's data is only read."""
    given: Mapping[str, Any] = {"a": {"b": [1, None]}}
    encode_pairs("query", given)
    assert given == {"a": {"b": [1, None]}}
