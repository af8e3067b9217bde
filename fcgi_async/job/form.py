"""Names and values of a form or a query, as PHP's http_build_query() writes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from urllib.parse import quote_plus

from fcgi_async.errors import InvalidJob

__all__ = ("Pairs", "encode_form", "encode_pairs", "form_fields", "to_utf8")

# the types of `query` and `form`
Pairs = Mapping[str, object] | Sequence[tuple[str, object]] | str

# most brackets in a name: PHP drops a variable that has more (max_input_nesting_level)
_MAX_BRACKETS = 64
# most digits of a number that PHP writes without an exponent
_PLAIN_DIGITS = 17
# bits of a number that Python writes with any setting of its digit limit
_SHORT = 1024


def encode_pairs(what: str, pairs: object) -> str:
    """Return pairs percent-encoded, byte for byte as PHP's http_build_query() does with `precision=-1`.

    Args:
        what: the argument's name, for errors.
        pairs: a mapping, a sequence of pairs (which may repeat a name), or a string that is encoded already.

    Raises:
        InvalidJob: a value cannot be expressed in a query.
    """
    if isinstance(pairs, str):
        return pairs
    parts: list[str] = []
    items: Iterable[tuple[object, object]] = pairs.items() if type(pairs) is dict else _top_level(what, pairs)
    for key, value in items:
        # most names, whole numbers and words need no quoting
        if type(key) is str and key.isascii() and key.isidentifier():
            if type(value) is int and value.bit_length() < _SHORT:
                parts.append(f"{key}={value}")
                continue
            if type(value) is str and value.isascii():
                parts.append(f"{key}={value if value.isalnum() else value.translate(_QUOTED)}")
                continue
        fields: list[tuple[bytes, bytes]] = []
        _add(fields, what, key if type(key) is str else _name(what, key), value, (id(pairs),))
        parts += [f"{_quote(name)}={_quote(text)}" for name, text in fields]
    return "&".join(parts)


def encode_form(form: object) -> bytes:
    """Return a form as `application/x-www-form-urlencoded`.

    Raises:
        InvalidJob: a value cannot be expressed in a query.
    """
    return to_utf8("form", encode_pairs("form", form))


def form_fields(what: str, pairs: object) -> list[tuple[bytes, bytes]]:
    """Return pairs of names and values, with brackets for nested ones; None and empty collections are left out.

    Raises:
        InvalidJob: it is neither a mapping nor a sequence of pairs, or a value cannot be expressed in a query.
    """
    fields: list[tuple[bytes, bytes]] = []
    for key, value in _top_level(what, pairs):
        _add(fields, what, key if type(key) is str else _name(what, key), value, (id(pairs),))
    return fields


def _top_level(what: str, pairs: object) -> Iterable[tuple[object, object]]:
    if isinstance(pairs, Mapping):
        return pairs.items()
    found: list[tuple[object, object]] = []
    if isinstance(pairs, Sequence) and not isinstance(pairs, str | bytes | bytearray | memoryview):
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise InvalidJob(f"{what}= must have pairs of (name, value), not {type(pair).__name__}")
            found.append((pair[0], pair[1]))
        return found
    raise InvalidJob(
        f"{what}= must be a mapping, a sequence of pairs or an encoded string, not {type(pairs).__name__}; "
        "raw bytes go into content="
    )


def _add(fields: list[tuple[bytes, bytes]], what: str, name: str, value: object, parents: tuple[int, ...]) -> None:
    if value is None:
        return
    scalar = _scalar(what, name, value)
    if scalar is not None:
        fields.append((to_utf8(what, name), scalar))
        return
    items: Iterable[tuple[object, object]]
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, Sequence):
        items = enumerate(value)
    else:
        raise InvalidJob(
            f"{what}[{name!r}] is of type {type(value).__name__}, which a query cannot express; "
            "give str, bytes, a number, a bool, None, a mapping or a sequence"
        )
    if id(value) in parents:
        raise InvalidJob(f"{what}= contains itself, at {name[:100]!r}; give a copy without that")
    if len(parents) > _MAX_BRACKETS:
        raise InvalidJob(
            f"{what}= is nested more than {_MAX_BRACKETS} levels deep, which PHP drops (max_input_nesting_level); "
            "send it as json="
        )
    for key, inner in items:
        _add(fields, what, f"{name}[{_name(what, key)}]", inner, (*parents, id(value)))


def _name(what: str, key: object) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int):
        return _whole(what, key)
    raise InvalidJob(f"a name in {what}= must be a string or a whole number, not {type(key).__name__}")


def _scalar(what: str, name: str, value: object) -> bytes | None:
    if isinstance(value, str):
        return to_utf8(what, value, name)
    if isinstance(value, bytes | bytearray | memoryview):
        # PHP's strings are bytes
        return bytes(value)
    if isinstance(value, int):
        return _whole(what, value).encode()
    if isinstance(value, float):
        return _float(value).encode()
    return None


def _whole(what: str, number: int) -> str:
    try:
        return str(int(number))
    except ValueError as error:
        raise InvalidJob(f"{what}= has a number that is too long: {error}; give it as a string") from None


def _float(number: float) -> str:
    """Return the shortest digits for this number, in PHP's notation."""
    if not math.isfinite(number):
        return "NAN" if math.isnan(number) else "INF" if number > 0 else "-INF"
    exact = Decimal(repr(float(number)))
    exponent = exact.adjusted()
    if -5 < exponent < _PLAIN_DIGITS or not exact:
        plain = format(exact, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    digits = "".join(map(str, exact.as_tuple().digits)).rstrip("0")
    return f"{'-' if number < 0 else ''}{digits[0]}.{digits[1:] or '0'}E{exponent:+d}"


def _quote(text: bytes) -> str:
    return text.decode("ascii").translate(_QUOTED) if text.isascii() else _quote_php(text)


def _quote_php(text: bytes) -> str:
    # the only unreserved character that PHP quotes
    return quote_plus(text).replace("~", "%7E")


# quoted ASCII characters
_QUOTED = str.maketrans({chr(code): _quote_php(bytes([code])) for code in range(128) if not chr(code).isalnum()})


def to_utf8(what: str, text: str, key: str | None = None) -> bytes:
    """Return text as UTF-8. If it has lone surrogates, raise InvalidJob, which names the argument and its part."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidJob(f"{what}{'=' if key is None else f'[{key!r}]'} cannot be encoded as UTF-8: {error}") from None
