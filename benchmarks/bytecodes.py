"""The bytecode instructions and Python calls that a job costs, function by function: no timing, any machine.

Usage: python -m benchmarks.bytecodes [--through WAY] [--backend NAME] [--kind KIND] [--jobs N]
       python -m benchmarks.bytecodes --store | --guard

Counted are instructions of the interpreter, not seconds: the count is the same on a machine that is busy, and says
which function does how much. A job goes its whole way with everything on: both probes, the queue, a deadline,
validation, the CGI head, over a socket to a peer that answers as PHP-FPM does (benchmarks/scripted.py).

Not counted: what runs in C, above all send(), recv() and the kernel behind them; PHP; the benchmark itself. An
instruction that makes an object or calls a function takes several times as long as one that moves a value.

`--through gateway` counts what a gateway does for a request that it passes on, `--through client` what a `run_all()`
does that goes to one: on each side the other one is scripted (benchmarks/scripted_gateway.py).

`--store` writes what `make bench-guard` compares with, for this minor version of Python.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import anyio.lowlevel
import attrs

import fcgi_async
from benchmarks.contenders.ours import Runner, dispatcher
from benchmarks.contenders.setting import Setting
from benchmarks.scripted import ScriptedPeer, run_with
from benchmarks.scripted_gateway import ScriptedClient, ScriptedGateway
from fcgi_async import Dispatcher, Job

PACKAGE = str(Path(fcgi_async.__file__).parent) + "/"
OURSELVES = str(Path(__file__).parent) + "/"
BASELINE = Path(__file__).parent / "baseline.json"
SHOWN, WARM_UP, COUNTED = 40, 80, 100
WAYS = ("run_all", "run", "stream", "submit", "gateway", "client")
# what the guard counts: way and kind of job
GUARDED = {
    "a request through a gateway": ("gateway", "plain"),
    "a job to a gateway": ("client", "plain"),
    "run_all": ("run_all", "plain"),
    "run": ("run", "plain"),
    "stream": ("stream", "plain"),
    "a job with a query": ("run_all", "query"),
    "a job with a JSON body": ("run_all", "json"),
    "a job with a STDERR message": ("run_all", "stderr"),
}
TOLERANCE = 1.05
# where no count of this Python is stored: those of another differ by less
OTHER_TOLERANCE = 1.25


@attrs.define
class Counts:
    """What was counted over a stretch.

    Attributes:
        instructions, calls: by function; a generator that goes on is a call too.
        depths: of the stack, in frames of the package, at each call of one of its functions.
    """

    instructions: Counter[CodeType] = attrs.field(factory=Counter)
    calls: Counter[CodeType] = attrs.field(factory=Counter)
    depths: Counter[int] = attrs.field(factory=Counter)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count everything that runs meanwhile, but for the benchmark itself."""

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "opcode":
                self.instructions[frame.f_code] += 1
            return local

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            code = frame.f_code
            if code.co_filename.startswith(OURSELVES):
                return None
            self.calls[code] += 1
            if code.co_filename.startswith(PACKAGE):
                self.depths[depth(frame)] += 1
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return local

        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(None)

    def per_job(self, jobs: int) -> dict[str, float]:
        """Return the figures of a job; deep, and in a file, it is only if most jobs are."""
        files: Counter[str] = Counter()
        for code, number in self.calls.items():
            if code.co_filename.startswith(PACKAGE):
                files[code.co_filename] += number
        return {
            "instructions": self.instructions.total() / jobs,
            "calls": self.calls.total() / jobs,
            "depth": max((depth for depth, number in self.depths.items() if number > jobs / 2), default=0),
            "files": sum(number > jobs / 2 for number in files.values()),
        }


def depth(frame: FrameType | None) -> int:
    """Return how many frames of the package are on the stack."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename.startswith(PACKAGE)
        frame = frame.f_back
    return found


def count(setting: Setting, through: str, backend: str, kind: str) -> Counts:
    """Count the jobs of a setting, whose address is not looked at."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        peer = ScriptedPeer(Path(folder, "peer.sock"), message=kind == "stderr")

        async def main() -> None:
            own = attrs.evolve(setting, address=peer.address, endpoints=[])
            async with dispatcher(own) as php:
                run = getattr(Runner(php, own, kind), through)
                await run(WARM_UP)
                with counts.counting():
                    await run(setting.jobs)

        run_with(peer.pump, backend, main)
    return counts


def count_gateway(jobs: int, backend: str) -> Counts:
    """Count what a gateway does for requests of a client that has sixteen open, on four workers."""
    # what `--before` compares with may have no gateway
    from fcgi_async.gateway import Gateway

    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        peer = ScriptedPeer(Path(folder, "peer.sock"), message=False)
        path = Path(folder, "gateway.sock")
        client = ScriptedClient(path)

        async def send(number: int) -> None:
            client.left, client.answered = number, 0
            while client.answered < number:
                await anyio.lowlevel.checkpoint()

        async def main() -> None:
            async with Dispatcher(peer.address, max_children=4) as php, Gateway(php, f"unix://{path}"):
                await send(WARM_UP)
                with counts.counting():
                    await send(jobs)
                client.close()

        def pump() -> None:
            peer.pump()
            client.pump()

        run_with(pump, backend, main)
    return counts


def count_client(jobs: int, backend: str) -> Counts:
    """Count what a dispatcher does whose endpoint is a gateway."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        gateway = ScriptedGateway(Path(folder, "gateway.sock"))

        async def main() -> None:
            async with Dispatcher(gateway.address) as php:
                await php.run_all(Job("/srv/ok.php") for _ in range(WARM_UP))
                with counts.counting():
                    await php.run_all(Job("/srv/ok.php") for _ in range(jobs))

        run_with(gateway.pump, backend, main)
    return counts


def count_through(through: str, jobs: int, backend: str, kind: str) -> Counts:
    """Count one of the ways."""
    if through == "gateway":
        return count_gateway(jobs, backend)
    if through == "client":
        return count_client(jobs, backend)
    return count(setting(jobs), through, backend, kind)


def setting(jobs: int, at_once: int = 16) -> Setting:
    return Setting(address="", script="/srv/ok.php", jobs=jobs, at_once=at_once)


def guarded() -> dict[str, dict[str, float]]:
    """Return instructions and calls of each kind of job that the guard looks at."""
    found = {}
    for name, (through, kind) in GUARDED.items():
        figures = count_through(through, COUNTED, "asyncio", kind).per_job(COUNTED)
        found[name] = {what: round(figures[what], 1) for what in ("instructions", "calls")}
    return found


def minor() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def worse(
    found: Mapping[str, Mapping[str, float]], stored: Mapping[str, Mapping[str, Mapping[str, float]]], version: str
) -> list[str]:
    """Say of each kind of job that takes more than the stored baseline, by how much."""
    baseline = stored.get(version) or stored[min(stored)]
    tolerance = TOLERANCE if version in stored else OTHER_TOLERANCE
    return [
        f"{name}: {number:.0f} {what}, and it was {baseline.get(name, {}).get(what)}"
        for name, figures in found.items()
        for what, number in figures.items()
        if number > tolerance * baseline.get(name, {}).get(what, 0.0)
    ]


def place(code: CodeType) -> tuple[str, str]:
    """Return a function's name, and where it stands."""
    name = code.co_filename
    if "attrs generated methods fcgi_async" in name:
        owner = name.rpartition("fcgi_async.")[2].removesuffix(">")
        return f"making a {owner.rpartition('.')[2]}", owner.rpartition(".")[0].replace(".", "/") + ".py"
    if name.startswith(PACKAGE):
        return f"`{code.co_qualname}`", name.removeprefix(PACKAGE)
    return f"`{code.co_qualname}`", "/".join(Path(name).parts[-2:])


def layer(code: CodeType) -> str:
    """Return which of our layers a function belongs to, or who else it is of."""
    ours = code.co_filename.startswith(PACKAGE) or "attrs generated methods fcgi_async" in code.co_filename
    first = place(code)[1].partition("/")[0]
    return first if ours or first in ("asyncio", "_core") else "others"


def report(counts: Counts, jobs: int) -> str:
    """Return two tables: by layer, and by function."""
    total = counts.instructions.total()
    figures = counts.per_job(jobs)
    layers: Counter[str] = Counter()
    for code, number in counts.instructions.items():
        layers[layer(code)] += number
    lines = ["| layer | instructions / job | share |", "| --- | --- | --- |"]
    lines += [f"| {name} | {number / jobs:.0f} | {number / total:.0%} |" for name, number in layers.most_common()]
    lines += [f"| together | {total / jobs:.0f} | |", ""]
    lines += [f"{figures['calls']:.0f} calls, {figures['depth']} deep, in {figures['files']} files of the package", ""]
    lines += ["| function | file | instructions / job | calls / job | share |", "| --- | --- | --- | --- | --- |"]
    for code, number in counts.instructions.most_common(SHOWN):
        cells = (*place(code), f"{number / jobs:.0f}", f"{counts.calls[code] / jobs:.1f}", f"{number / total:.1%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Count and print, or store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--through", choices=WAYS, default="run_all")
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    parser.add_argument("--kind", choices=["plain", "query", "json", "stderr"], default="plain")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--store", action="store_true", help=f"store a baseline in {BASELINE.name}")
    parser.add_argument("--guard", action="store_true", help="print what would be stored")
    parser.add_argument("--json", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store:
        stored = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
        BASELINE.write_text(json.dumps(stored | {minor(): guarded()}, indent=2, sort_keys=True) + "\n")
    elif options.guard:
        print(json.dumps(guarded()))
    elif options.json:
        given, through, backend, *kind = options.json
        own = Setting(**json.loads(given))
        own = attrs.evolve(own, jobs=min(own.jobs, COUNTED))
        print(json.dumps(count(own, through, backend, *kind or ["plain"]).per_job(own.jobs)))
    else:
        counts = count_through(options.through, options.jobs, options.backend, options.kind)
        print(report(counts, options.jobs))


if __name__ == "__main__":
    main()
