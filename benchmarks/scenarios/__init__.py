"""Questions that a race does not answer, each a script that prints a table: `python -m benchmarks.scenarios.NAME`."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from fcgi_async import LocalFPM


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a script's docstring, and knows `--backend`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    return parser


def run(main: Callable[[argparse.Namespace], Awaitable[Any]], options: argparse.Namespace) -> Any:
    """Run a script's coroutine function on the event loop that was asked for."""
    uvloop = {"use_uvloop": True} if options.backend == "uvloop" else {}
    return anyio.run(main, options, backend="trio" if options.backend == "trio" else "asyncio", backend_options=uvloop)


def row(cells: Sequence[object], *, head: bool = False) -> None:
    """Print a line of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    if head:
        print("|" + " --- |" * len(cells), flush=True)


@asynccontextmanager
async def pool(scripts: Mapping[str, str], workers: int) -> AsyncIterator[LocalFPM]:
    """Yield a PHP-FPM that has scripts of these names."""
    async with LocalFPM(max_children=workers) as fpm:
        for name, code in scripts.items():
            (fpm.directory / f"{name}.php").write_text(f"<?php {code}")
        yield fpm


def script(fpm: LocalFPM, name: str) -> str:
    """Return where a script of a pool is."""
    return str(fpm.directory / f"{name}.php")
