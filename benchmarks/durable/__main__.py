"""What durable jobs cost, beside the same jobs in memory, on the databases of `--store`.

Everything is empty jobs on four PHP workers if nothing else is said. `x memory` is against `run_all` of the same
turn; figures are medians of the turns. Commits of puts are on disk; the databases are on the disk of the temporary
directory. Beside them, on the same database: procrastinate, each of whose jobs runs the same script on the same
PHP-FPM, and Symfony's Messenger, whose messages do nothing in its own processes.
"""

from __future__ import annotations

import argparse
from statistics import median

from benchmarks.durable import others, putting, running, waiting
from benchmarks.durable.surroundings import STORES, WORKERS, Database, database, task, write_scripts
from benchmarks.measuring import percentile
from benchmarks.scenarios import make_parser, row, run
from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.jobs import Task

AHEAD = (0, 1, 16)


async def measure_running(php: Dispatcher, make: Database, empty: Task, count: int, turns: int) -> None:
    """Print how many jobs run a second, beside those in memory."""
    rates: dict[int, list[tuple[float, float, float]]] = {ahead: [] for ahead in AHEAD}
    for _ in range(turns):
        for ahead in AHEAD:
            memory, grown = await running.in_memory(php, empty, count)
            rate, more = await running.durable(php, make(), empty, count, ahead)
            rates[ahead].append((rate, rate / memory, (more - grown) / 1024))
    for ahead, seen in rates.items():
        rate, ratio, more = (median(figures) for figures in zip(*seen, strict=True))
        row((f"run, ahead={ahead}", f"{rate:,.0f}/s", f"{ratio:.2f} x memory", f"{more:+.1f} MB"))


async def measure(
    kind: str, make: Database, php: Dispatcher, tasks: dict[str, Task], options: argparse.Namespace
) -> None:
    count = options.jobs
    for name, rate in (await putting.measure(make(), tasks["empty"], count // 4)).items():
        row((f"put, {name}", f"{rate:,.0f}/s", "", ""))
    await measure_running(php, make, tasks["empty"], count, options.turns)
    times = [await running.beside_ideal(php, make(), tasks["short"], count // 4) for _ in range(options.turns)]
    row(("10 ms each, ahead=1", "", f"{median(times):.2f} x ideal", ""))
    waited = await running.to_start(php, make(), tasks["when"], 500)
    row(("put to start", f"p50 {1000 * median(waited):.1f} ms", f"p99 {1000 * percentile(waited, 0.99):.1f} ms", ""))
    if options.waiting:
        ratio = await waiting.measure(make(), tasks["empty"], options.waiting)
        row((f"claim, {options.waiting:,} waiting", "", f"{ratio:.2f} x empty", ""))
    if options.beside:
        ours, _ = await running.durable(php, make(), tasks["empty"], count, ahead=1)
        if kind == "postgres":
            theirs = await others.through_procrastinate(php, make(), tasks["empty"].script, count)
            row(("procrastinate", f"{theirs:,.0f}/s", f"ours {ours / theirs:.1f} x", ""))
        theirs = others.through_messenger(make(), count)
        row(("messenger:consume", f"{theirs:,.0f}/s", f"ours {ours / theirs:.1f} x", ""))


async def main(options: argparse.Namespace) -> None:
    async with LocalFPM(max_children=WORKERS) as fpm, Dispatcher(fpm.address, max_children=WORKERS) as php:
        scripts = write_scripts(fpm)
        tasks = {name: task(scripts, name) for name in scripts}
        for kind in options.store:
            with database(kind) as make:
                print()
                row((kind, "", "", "memory beside"), head=True)
                await measure(kind, make, php, tasks, options)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--store", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--jobs", type=int, default=4000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--waiting", type=int, default=1_000_000, help="0 leaves it out")
    parser.add_argument("--beside", action=argparse.BooleanOptionalAction, default=True, help="others on the database")
    run(main, parser.parse_args())
