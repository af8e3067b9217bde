"""What a case of the hostile peers is: a name, what the peer does, and what each job must get."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from fcgi_async import FastCGIError, Limits
from tests.dispatch.hostile.peer import NOT_MULTIPLEXING, Behaviour, Strike, Wire
from tests.handlers import HEAD
from tests.wire import frames

# the name of the job, where there is but one
ONE = "bad"


@attrs.frozen
class Fails:
    """The job fails.

    Attributes:
        kind: the class of its error, exactly.
        may_have_run: what the error says of that.
        message: a part of what it says.
    """

    kind: type[FastCGIError]
    may_have_run: bool = True
    message: str = ""

    def __str__(self) -> str:
        return f"`{self.kind.__name__}`, {'may have run' if self.may_have_run else 'did not run'}"


@attrs.frozen(kw_only=True)
class Answers:
    """The job is answered."""

    content: bytes = b"ok"
    status: int = 200
    app_status: int = 0
    # those that are looked at
    headers: Mapping[str, str] = attrs.field(factory=dict)
    header_count: int | None = None
    stderr: bytes = b""
    stderr_truncated: bool = False
    truncated: bool = False
    # records of finished requests that the dispatcher has counted
    strays: int = 0

    def __str__(self) -> str:
        facts = ["its answer"]
        if self.status != 200:
            facts.append(f"status {self.status}")
        if self.app_status:
            facts.append(f"app_status {self.app_status}")
        if self.truncated:
            facts.append("not `ok`, since its body is cut; a stream ends with `ResponseTruncated`")
        if self.stderr_truncated:
            facts.append("STDERR cut at its limit")
        if self.strays:
            facts.append("the stray record is counted" if self.strays == 1 else f"{self.strays} stray records counted")
        return ", ".join(facts)


Expected = Fails | Answers


def _by_name(expected: Expected | Mapping[str, Expected]) -> Mapping[str, Expected]:
    return expected if isinstance(expected, Mapping) else {ONE: expected}


@attrs.frozen(kw_only=True)
class Case:
    """A peer, and what becomes of the jobs that meet it.

    Attributes:
        name: of the case.
        peer: what the peer does, in a line.
        expected: what each job gets, by the job's name.
        at_connection, at_requests, at_params, struck, values, drip: see `Behaviour`.
        next_served: whether the next job must be answered.
        where: the address family: "unix" or "tcp".
        size: bytes in the jobs' bodies.
        run_timeout: seconds, of the jobs in `impatient`, or of all.
        queue_timeout: seconds.
        limits: what a peer may send.
        attempts: how often a job is sent at most; None is the library's own way.
        is_fpm: whether the peer is known to be PHP-FPM, so that its EOF is a proof.
    """

    name: str = attrs.field(kw_only=False)
    peer: str = attrs.field(kw_only=False)
    expected: Mapping[str, Expected] = attrs.field(kw_only=False, converter=_by_name)
    at_connection: Strike | None = None
    at_requests: Strike | None = None
    at_params: Strike | None = None
    struck: int | None = 1
    values: bytes = NOT_MULTIPLEXING
    drip: bool = False
    next_served: bool = True
    where: str = "unix"
    size: int = 4
    run_timeout: float | None = None
    queue_timeout: float | None = None
    impatient: frozenset[str] = frozenset()
    limits: Limits = attrs.field(factory=Limits)
    attempts: int | None = 1
    is_fpm: bool = False

    @property
    def streamable(self) -> bool:
        """Whether the same becomes of a job that is streamed: one alone, which got a worker, without a bound."""
        if any(isinstance(one, Answers) and one.truncated for one in self.expected.values()):
            return False
        return len(self.expected) == 1 and self.queue_timeout is None and self.limits.response == Limits().response

    @property
    def behaviour(self) -> Behaviour:
        """What the peer is told."""
        return Behaviour(
            jobs=frozenset(self.expected),
            at_connection=self.at_connection,
            at_requests=self.at_requests,
            at_params=self.at_params,
            struck=self.struck,
            values=self.values,
            drip=self.drip,
        )


# how strikes are written


def says(build: Callable[[int], bytes]) -> Strike:
    """Send something about the one job, and go on serving."""

    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(build(ids[ONE]))

    return strike


def says_and_closes(build: Callable[[int], bytes]) -> Strike:
    """Send something about the one job, and close normally."""

    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(build(ids[ONE]))
        await wire.close()

    return strike


def says_and_waits(build: Callable[[int], bytes]) -> Strike:
    """Send something about the one job, and nothing after that."""

    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(build(ids[ONE]))
        await wire.silence()

    return strike


def says_for_ever(begin: Callable[[int], bytes], build: Callable[[int], bytes]) -> Strike:
    """Send the beginning once, and the rest again and again."""

    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(begin(ids[ONE]))
        rest = build(ids[ONE])
        while True:
            await wire.send(rest)

    return strike


def answer(request_id: int, content: bytes = b"ok") -> bytes:
    """A whole response."""
    return frames.stdout(request_id, HEAD + content) + frames.end(request_id)


def head(request_id: int, text: bytes, body: bytes = b"ok") -> bytes:
    """A whole response with another head; `text` has the empty line."""
    return frames.stdout(request_id, text + body) + frames.end(request_id)
