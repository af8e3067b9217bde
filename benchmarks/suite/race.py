"""Contenders in turns, each in a process of its own: A B C A B C ..."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from benchmarks.contenders.setting import Setting
from benchmarks.suite.surroundings import Surroundings

Thing = TypeVar("Thing")
# what a contender measured of itself in one round
Figures = dict[str, float]
# what each contender measured, round by round, or why it did not
Results = dict[str, list[Figures] | str]

FOLDER = Path(__file__).parents[1] / "contenders"
OURS, BEFORE = "fcgi_async ", "before: "
PATIENCE, FAILED = 300.0, "failed"


@attrs.frozen
class Size:
    """How much is run: contenders take turns `rounds` times, `long_rounds` where one run is long."""

    name: str
    rounds: int
    long_rounds: int

    def pick(self, full: Thing, quick: Thing, tiny: Thing) -> Thing:
        """Return what belongs to this size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.name]


FULL, QUICK, TINY = Size("full", 5, 3), Size("quick", 2, 1), Size("tiny", 1, 1)


@attrs.frozen
class Entrant:
    """One contender.

    Attributes:
        name: in tables.
        command: what runs it; `{setting}` stands for the setting, `{go}` for the compiled client, `{checkout}` for that
            of hollodotme/fast-cgi-client.
        needs: the programs, or "hollodotme" for the checkout.
        share_of_jobs: how many of the jobs it runs: the slow ones fewer.
        changes: what is different in its setting.
        endpoints: how many addresses of the wide pool it is given, 0 for the pool itself.
        counted: way, loop and kind of job where benchmarks/bytecodes.py can count its instructions.
        earlier: whether it is the other state of the project.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    share_of_jobs: float = 1.0
    changes: Mapping[str, Any] = attrs.field(factory=dict)
    endpoints: int = 0
    counted: tuple[str, ...] = ()
    earlier: bool = False


def python(name: str, script: str, *options: str, **more: Any) -> Entrant:
    """Return a contender in Python."""
    return Entrant(name, (sys.executable, "-m", f"benchmarks.contenders.{script}", "{setting}", *options), **more)


def ours(way: str, backend: str, kind: str = "", **more: Any) -> Entrant:
    """Return fcgi_async through one of its methods, on one of the event loops."""
    options = (way, backend, *([kind] if kind else []))
    counted = options if way in ("run_all", "run", "stream", "submit") else ()
    more = {"name": f"{OURS}{way} ({backend})", "counted": counted} | more
    return python(more.pop("name"), "ours", *options, **more)


def before(entrant: Entrant) -> Entrant:
    """Return one of ours as another state of the project runs it."""
    return attrs.evolve(entrant, name=BEFORE + entrant.name.removeprefix(OURS), earlier=True)


FLOOR = python("blocking sockets", "blocking", "kept")
TAIL = python("blocking sockets, tail probe", "blocking", "tail")
PROTOCOL = python("asyncio.Protocol", "through_asyncio", "protocol", "asyncio")
PROTOCOL_UVLOOP = python("asyncio.Protocol (uvloop)", "through_asyncio", "protocol", "uvloop")
GO = Entrant("Go client", ("{go}", "{setting}"), ("go",))
HOLLODOTME = Entrant(
    "hollodotme/fast-cgi-client (PHP)",
    ("php", "-n", str(FOLDER / "hollodotme.php"), "{setting}", "{checkout}"),
    ("php", "hollodotme"),
)
AIOHTTP = python("aiohttp, nginx", "through_asyncio", "aiohttp", "asyncio", needs=("nginx",))
PROCESSES = python("a php process per job", "through_asyncio", "php", "asyncio", needs=("php",), share_of_jobs=0.01)


@attrs.frozen(kw_only=True)
class Case:
    """Contenders that are compared with each other under one setting.

    Attributes:
        name: as a heading.
        entrants: the contenders, in the order of their turns; ratios are to the first, where nothing else is said.
        pool: which PHP-FPM they talk to: on a "unix" socket, on "tcp", or a "wide" one of 64 workers.
        script: the PHP script, of benchmarks/scripts.
        changes: of the setting: at_once, jobs, ...
        rounds: how often they take turns, where that is not what the size says.
    """

    name: str
    entrants: Sequence[Entrant]
    pool: str = "unix"
    script: str = "ok.php"
    changes: Mapping[str, Any] = attrs.field(factory=dict)
    rounds: int | None = None


@attrs.frozen(kw_only=True)
class Workload:
    """Cases of one kind.

    Attributes:
        name: what `--only` takes.
        about: what is measured and what is not, in paragraphs; the first is a sentence.
        columns: of its table, by the names of benchmarks/report/figures.py.
        cases: what there is to run in a size.
    """

    name: str
    about: str
    columns: Sequence[str]
    cases: Callable[[Size], Sequence[Case]]


def race(case: Case, rounds: int, around: Surroundings) -> Results:
    """Run a case; a contender that fails once is left out, and said so on standard error."""
    results: Results = {}
    for entrant in case.entrants:
        if entrant.earlier and around.before is None:
            continue
        missing = around.missing(entrant.needs)
        results[entrant.name] = [] if missing is None else missing
    nginx = any("nginx" in entrant.needs and results.get(entrant.name) == [] for entrant in case.entrants)
    setting = around.setting(case.pool, case.script, case.changes, nginx=nginx)
    for number in range(rounds):
        for entrant in case.entrants:
            found = results.get(entrant.name, FAILED)
            if isinstance(found, str):
                continue
            figures = measure(entrant, setting, around, count=number == 0)
            if figures is None:
                results[entrant.name] = FAILED
            else:
                found.append(figures)
    return results


def measure(entrant: Entrant, setting: Setting, around: Surroundings, *, count: bool) -> Figures | None:
    """Run a contender once, and count its instructions as well where that is asked; None where it failed."""
    jobs = max(int(setting.jobs * entrant.share_of_jobs), 1)
    changes = {"jobs": jobs, "warm_up": int(setting.warm_up * entrant.share_of_jobs), **entrant.changes}
    if entrant.endpoints:
        changes["endpoints"] = around.endpoints(entrant.endpoints)
    own = json.dumps(attrs.asdict(attrs.evolve(setting, **changes)))
    figures = run([around.fill(part, own) for part in entrant.command], entrant, around)
    if figures is not None and count and entrant.counted:
        command = [sys.executable, "-m", "benchmarks.bytecodes", "--json", own, *entrant.counted]
        counts = run(command, entrant, around)
        figures = None if counts is None else figures | counts
    return figures


def run(command: list[str], entrant: Entrant, around: Surroundings) -> Figures | None:
    """Run a contender once, and return what it measured; None where it failed."""
    environment = around.environment(before=entrant.earlier)
    try:
        done = subprocess.run(
            command, cwd=around.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"{entrant.name}: {error}\n{getattr(error, 'stderr', '') or ''}", file=sys.stderr)
        return None
