"""The routes that `Responder.on()` makes, and the assertions of a test afterwards."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Self

import attrs

from fcgi_async.job.settings import UNSET
from fcgi_async.testing.expectation import Expectation, describe_request
from fcgi_async.testing.faults import Drip, Fault
from fcgi_async.testing.reply import Reply
from fcgi_async.testing.request import Answer, Request

__all__ = ("NOT_FOUND", "Handler", "Route", "assert_all_asked", "assert_asked", "check_answer", "is_coroutine_function")

Handler = Callable[[Request], Awaitable[Answer]] | Callable[[Request], Answer]

# PHP-FPM's answer for a missing script
NOT_FOUND = Reply(404, body="File not found.\n", stderr="Primary script unknown")


@attrs.define(eq=False)
class Route:
    """The answers to matching requests; made by `Responder.on()`.

    Attributes:
        requests: the requests that it answered, in order.
    """

    _expectation: Expectation
    _answers: list[Answer | Handler] = attrs.field(factory=list, init=False)
    requests: list[Request] = attrs.field(factory=list, init=False)

    def reply(
        self,
        *answers: Answer | Handler | Sequence[Answer | Handler],
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        json: object = UNSET,
        body: bytes | str = b"",
        stderr: bytes | str = b"",
    ) -> Self:
        """Set the answer: `reply("ok")`, `reply(json={"id": 7})`, `reply(Reply(503), "ok")`, `reply(handler)`.

        Args:
            answers: one for each request in turn, the last one also for all that follow: a `Reply`, text or bytes, a
                fault, None for an empty 200, or a function that is called with the request; the items of a list count
                separately. A second call adds to the first.
            status: together with the next arguments: the only answer, as for `Reply`.
            headers: as for `Reply`.
            json: as for `Reply`.
            body: as for `Reply`.
            stderr: as for `Reply`.

        Raises:
            TypeError: an answer has the wrong type, or answers are given together with the other arguments.
            ValueError: as for `Reply`.
        """
        alone = Reply(status, headers, body, json=json, stderr=stderr)
        if answers and alone != Reply():
            raise TypeError("reply() takes answers, or the arguments of one Reply; write reply(Reply(...), ...)")
        if not answers:
            self._answers.append(alone)
        for answer in answers:
            several = answer if isinstance(answer, list | tuple) else (answer,)
            for one in several:
                if not callable(one):
                    check_answer(one)
                self._answers.append(one)
        return self

    def matches(self, request: Request) -> bool:
        """Return whether this route matches a request; the body does not matter."""
        return self._expectation.difference(request) is None

    def take(self, request: Request) -> Answer | Handler:
        """Return the answer to a request, and keep the request."""
        turn = len(self.requests)
        self.requests.append(request)
        return self._answers[min(turn, len(self._answers) - 1)] if self._answers else None

    def __str__(self) -> str:
        return str(self._expectation)


def check_answer(answer: object) -> None:
    """Raise TypeError if a handler may not return this."""
    if answer is None or (isinstance(answer, Reply | str | bytes | Fault) and not isinstance(answer, Drip)):
        return
    hint = ""
    if isinstance(answer, int):
        hint = f"; write Reply({answer})"
    elif isinstance(answer, Mapping | list):
        hint = "; write Reply(json=...)"
    raise TypeError(f"an answer is a Reply, text, bytes, a fault or None, not {answer!r}{hint}")


def is_coroutine_function(handler: object) -> bool:
    """Return whether a handler is a coroutine function, which may read the body itself."""
    return inspect.iscoroutinefunction(handler) or (
        callable(handler) and inspect.iscoroutinefunction(type(handler).__call__)
    )


def assert_asked(
    requests: Sequence[Request], unexpected: Sequence[Request], expected: Expectation, times: int | None
) -> list[Request]:
    """Return the requests that are as expected.

    Args:
        requests: all requests that came.
        unexpected: the requests for which there was no answer.
        expected: the expected request.
        times: how many there must be; None for one at least.

    Raises:
        AssertionError: there are more or fewer; the error shows what came instead.
    """
    __tracebackhide__ = True
    differences = [expected.difference(request) for request in requests]
    found = [request for request, difference in zip(requests, differences, strict=True) if difference is None]
    if found if times is None else len(found) == times:
        return found
    wanted = {None: "at least one request", 0: "no request", 1: "one request"}.get(times, f"{times} requests")
    lines = [f"{wanted} for {expected} was expected, {_count(len(found), len(requests))}"]
    for request, difference in zip(requests, differences, strict=True):
        line = f"  {request.number}. {describe_request(request)}"
        line += " <- as expected" if difference is None else f" <- another {difference}"
        lines.append(line + (", and there was no answer to it" if request in unexpected else ""))
    raise AssertionError("\n".join(lines))


def _count(found: int, came: int) -> str:
    if not came:
        return "and nothing was asked at all"
    return f"and {found or 'none'} of the {came} that came {'is' if found == 1 else 'are'} that"


def assert_all_asked(routes: Sequence[Route], unexpected: Sequence[Request]) -> None:
    """Raise AssertionError if a route was never asked for, or there was no answer to a request."""
    __tracebackhide__ = True
    lines = [f"  {route} was expected but never asked for" for route in routes if not route.requests]
    lines += [
        f"  {request.number}. {describe_request(request)} was asked, and there was no answer to it"
        for request in unexpected
    ]
    if lines:
        raise AssertionError("\n".join(["the requests are not as expected:", *lines]))
