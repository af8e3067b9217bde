"""Where the smallest job's time goes, function by function: the bytecode instructions that Python runs for it.

Usage: python -m benchmarks.bytecodes [--through run_all|run|map] [--jobs N]

Counted are instructions of the interpreter, not seconds: the count is the same on every machine, busy or idle, and says
which function does how much. `run_all` on asyncio goes its whole way with everything on: both probes, the queue, a
deadline, validation, the CGI head. In place of the socket stands a peer in memory, which answers as PHP-FPM does,
response and tail's answer in one read.

Not counted: what runs in C, above all send(), recv() and the kernel behind them; PHP. An instruction that makes an
object or calls a function takes several times as long as one that moves a value.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import Struct
from types import CodeType, FrameType
from typing import Any
from unittest import mock

import fcgi_async
from fcgi_async import Dispatcher, Job, Timeouts
from fcgi_async.net.transport import TransportHandler
from fcgi_async.wire.spec import RecordType

PACKAGE = Path(fcgi_async.__file__).parent
STDOUT = b"X-Powered-By: PHP/8.2\r\nContent-type: text/html; charset=UTF-8\r\n\r\nok"
WORKERS = 4
SHOWN = 40
# made here and not by our encoders, which would be counted
RECORD = Struct(">BBHHBx")
HEAD_ANSWER = RECORD.pack(1, RecordType.GET_VALUES_RESULT, 0, 18, 0) + b"\x0f\x01FCGI_MPXS_CONNS0"


def response(request_id: int) -> bytes:
    """Return a response, and the answer to the tail probe behind it."""
    stdout = RECORD.pack(1, RecordType.STDOUT, request_id, len(STDOUT), 0) + STDOUT
    end = RECORD.pack(1, RecordType.END_REQUEST, request_id, 8, 0) + bytes(8)
    return stdout + end + RECORD.pack(1, RecordType.GET_VALUES_RESULT, 0, 0, 0)


class PeerInMemory:
    """A transport to a worker that answers each write in the loop's next turn, as PHP-FPM does."""

    unsent = 0
    unread = 0

    def __init__(self, handler: TransportHandler) -> None:
        self._handler = handler
        self._writes = 0
        self._closed = False

    def write(self, data: bytes) -> bool:
        # the head probe is the first write, and ids advance by one
        answer = response(self._writes) if self._writes else HEAD_ANSWER * 2
        self._writes += 1
        asyncio.get_running_loop().call_soon(self._deliver, answer)
        return True

    def _deliver(self, answer: bytes) -> None:
        if not self._closed:
            self._handler.data_received(answer)

    def acknowledge(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def shut_reading(self) -> None:
        """Refuse what the peer still writes."""

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().call_soon(self._handler.connection_lost, None)


def _in_memory(sock: object, handler: TransportHandler, backend: object) -> PeerInMemory:
    return PeerInMemory(handler)


@contextmanager
def counted(counts: Counter[CodeType]) -> Iterator[None]:
    """Count every instruction that is run meanwhile, by function."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counts[frame.f_code] += 1
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


async def run(php: Dispatcher, through: str, jobs: int) -> None:
    """Run so many of the smallest jobs."""
    if through == "run_all":
        await php.run_all(Job("/srv/ok.php") for _ in range(jobs))
    elif through == "map":
        async with php.map(Job("/srv/ok.php") for _ in range(jobs)) as outcomes:
            async for outcome in outcomes:
                outcome.result()
    else:

        async def loop() -> None:
            for _ in range(jobs // WORKERS):
                await php.run(Job("/srv/ok.php"))

        await asyncio.gather(*[loop() for _ in range(WORKERS)])


async def count(through: str, jobs: int) -> Counter[CodeType]:
    """Return how many instructions each function runs for so many jobs."""
    counts: Counter[CodeType] = Counter()
    dial = mock.AsyncMock()
    with mock.patch("fcgi_async.pool.link.Transport", _in_memory), mock.patch("fcgi_async.pool.pool.dial", dial):
        async with Dispatcher("unix:///in-memory", max_children=WORKERS, timeouts=Timeouts(total=300)) as php:
            await run(php, through, 20 * WORKERS)
            with counted(counts):
                await run(php, through, jobs)
    return counts


def layer(code: CodeType) -> str | None:
    """Return which of our layers a function belongs to, `asyncio`, or None for what only measures."""
    path = Path(code.co_filename)
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).parts[0]
    if "attrs generated" in code.co_filename:
        return code.co_filename.rpartition("fcgi_async.")[2].partition(".")[0]
    return "asyncio" if "asyncio" in path.parts else None


def place(code: CodeType) -> str:
    """Return a function's name, and where it stands."""
    if "attrs generated" in code.co_filename:
        owner = code.co_filename.rpartition("fcgi_async.")[2].removesuffix(">")
        return f"making a {owner.rpartition('.')[2]} | {owner.rpartition('.')[0].replace('.', '/')}.py"
    path = Path(code.co_filename)
    inside = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else Path("asyncio", path.name)
    return f"`{code.co_qualname}` | {inside}"


def report(counts: Counter[CodeType], jobs: int) -> str:
    """Return two tables: by layer, and by function."""
    known = {code: number for code, number in counts.items() if layer(code)}
    total = sum(known.values())
    layers: Counter[str] = Counter()
    for code, number in known.items():
        layers[layer(code) or ""] += number
    lines = ["| layer | instructions / job | share |", "| --- | --- | --- |"]
    lines += [f"| {name} | {number / jobs:.0f} | {number / total:.0%} |" for name, number in layers.most_common()]
    lines += [f"| together | {total / jobs:.0f} | |", ""]
    lines += ["| function | file | instructions / job | share |", "| --- | --- | --- | --- |"]
    for code, number in Counter(known).most_common(SHOWN):
        lines.append(f"| {place(code)} | {number / jobs:.0f} | {number / total:.1%} |")
    return "\n".join(lines)


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--through", choices=["run_all", "run", "map"], default="run_all")
    parser.add_argument("--jobs", type=int, default=400)
    options = parser.parse_args()
    print(report(asyncio.run(count(options.through, options.jobs)), options.jobs))


if __name__ == "__main__":
    main()
