"""Check the parameters of a request that is passed on: refuse, remove or add some."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fcgi_async.dispatch.priority_param import PRIORITY_PARAM
from fcgi_async.dispatch.relay import RawRequest
from fcgi_async.dispatch.request import FORBIDDEN_PARAMS
from fcgi_async.errors import InvalidJob, LocalProtocolError
from fcgi_async.wire.records import MalformedPairs, decode_pairs, encode_pair, pack_pairs
from fcgi_async.wire.spec import MAX_CONTENT, Role

__all__ = ("KnownParams", "Params", "read_params")

_LENGTH: Final = b"CONTENT_LENGTH"
_PRIORITY: Final = PRIORITY_PARAM.encode()
# a visitor's header, which nginx passes on unintentionally
_PROXY: Final = b"HTTP_PROXY"
_FORBIDDEN: Final = {name.encode(): reason for name, reason in FORBIDDEN_PARAMS.items()}
# a request without any of these is passed on unchanged; a common beginning makes the search three times faster
_SUSPECT: Final = re.compile(b"|".join(name[name.index(b"_") :] for name in (*_FORBIDDEN, _PRIORITY))).search
_RESPONDER: Final = Role.RESPONDER
# so many parameters are remembered, of so many bytes at most
_KNOWN_MAX: Final = 1024
_KNOWN_SIZE: Final = 4096
# a number with more digits is not a length
_MAX_DIGITS: Final = 18


class Params:
    """The parameters of a request that go to PHP-FPM.

    Attributes:
        contents: contents of PARAMS records.
        priority: the request's priority.
        length: the declared length of its body; None if there is none.
        alone: the request to a Responder that has them, and no body.
    """

    __slots__ = ("alone", "contents", "length", "priority")

    def __init__(self, contents: tuple[bytes, ...], priority: int = 0, length: int | None = None) -> None:
        self.contents, self.priority, self.length = contents, priority, length
        self.alone = RawRequest(_RESPONDER, contents, b"")

    def with_length(self, length: int) -> Params:
        """Return the contents for a body of a length, which must agree with them.

        Raises:
            InvalidJob: they declare another length.
        """
        if self.length is None:
            if not length:
                return self
            pairs = [pair for pair in decode_pairs(b"".join(self.contents)) if pair[0] != _LENGTH]
            contents = tuple(pack_pairs(_encoded([*pairs, (_LENGTH, b"%d" % length)])))
            return Params(contents, self.priority, length)
        if self.length != length:
            raise InvalidJob(f"CONTENT_LENGTH is {self.length}, and the body has {length} bytes")
        return self


class KnownParams:
    """Reads parameters, and remembers those that came, since most requests for a script have the same.

    Args:
        allowed: parameters that are passed on though they are dangerous.
    """

    __slots__ = ("_allowed", "_known")

    def __init__(self, allowed: frozenset[bytes]) -> None:
        self._allowed = allowed
        self._known: dict[bytes, Params] = {}

    def read(self, content: bytes) -> Params:
        """Return what becomes of parameters; raises what `read_params()` does."""
        params = self._known.get(content)
        if params is None:
            params = read_params(content, self._allowed)
            if len(content) <= _KNOWN_SIZE:
                if len(self._known) >= _KNOWN_MAX:
                    self._known.clear()
                self._known[content] = params
        return params


def read_params(content: bytes, allowed: frozenset[bytes]) -> Params:
    """Return the parameters to pass on, and refuse those that endanger PHP's workers.

    Args:
        content: the raw parameters.
        allowed: dangerous parameters that are passed on.

    Raises:
        InvalidJob: a parameter is refused, or these are not name-value pairs.
    """
    if len(content) <= MAX_CONTENT and _SUSPECT(content) is None and _is_whole(content):
        return Params((content,) if content else ())
    try:
        return _read(decode_pairs(content), content, allowed)
    except MalformedPairs as error:
        raise InvalidJob(f"the parameters are malformed: {error}") from error
    except LocalProtocolError as error:
        raise InvalidJob(f"PHP-FPM does not take the parameters: {error}") from error


def _is_whole(content: bytes) -> bool:
    """Return whether these are complete pairs with short lengths, as most are."""
    position, end = 0, len(content)
    try:
        while position < end:
            name, value = content[position], content[position + 1]
            if name > 127 or value > 127:
                decode_pairs(content)
                return True
            position += 2 + name + value
    except (IndexError, MalformedPairs):
        return False
    return position == end


def _read(pairs: list[tuple[bytes, bytes]], content: bytes, allowed: frozenset[bytes]) -> Params:
    kept: list[tuple[bytes, bytes]] = []
    priority, length = 0, None
    lengths = 0
    for name, value in pairs:
        if name == _PRIORITY:
            priority = _whole_number(name, value)
        elif name == _LENGTH:
            lengths += 1
            length = _length(value)
            kept.append((name, value))
        elif name not in _FORBIDDEN or name in allowed:
            kept.append((name, value))
        elif name != _PROXY:
            shown = name.decode()
            raise InvalidJob(
                f"the parameter {shown} is refused: {_FORBIDDEN[name]}; Endpoint(allow_params={{{shown!r}}}) of the "
                "gateway's dispatcher permits it"
            )
    if lengths > 1:
        raise InvalidJob("CONTENT_LENGTH is given twice")
    if len(kept) == len(pairs) and len(content) <= MAX_CONTENT:
        return Params((content,), priority, length)
    return Params(tuple(pack_pairs(_encoded(kept))), priority, length)


def _encoded(pairs: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [encode_pair(name, value) for name, value in pairs]


def _length(value: bytes) -> int | None:
    # nginx sends an empty one with a request without a body
    if not value:
        return None
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise InvalidJob(f"CONTENT_LENGTH is {value[:100]!r}, which is not a length")
    return int(value)


def _whole_number(name: bytes, value: bytes) -> int:
    digits = value.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise InvalidJob(f"{name.decode()} is {value[:100]!r}, which is not a whole number")
    return int(value)
