"""Contenders in turns, each in a process of its own: A B C A B C ..."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import attrs

from benchmarks.suite.case import Case
from benchmarks.suite.entrant import Entrant
from benchmarks.suite.surroundings import ROOT, Surroundings

__all__ = ("Figures", "Results", "race")

# what a contender measured of itself in one round
Figures = dict[str, Any]
# what each contender measured, round by round, or why it did not
Results = dict[str, list[Figures] | str]

PATIENCE = 300.0
FAILED = "failed"


def race(case: Case, rounds: int, around: Surroundings) -> Results:
    """Run a case; a contender that fails once is left out, and said so on standard error."""
    results: Results = {}
    able = []
    for entrant in case.entrants:
        missing = around.missing(entrant.needs)
        results[entrant.name] = [] if missing is None else missing
        if missing is None:
            able.append(entrant)
    nginx = any("nginx" in entrant.needs for entrant in able)
    setting = around.setting(case.pool, case.script, case.query, case.changes, nginx=nginx)
    for _ in range(rounds):
        for entrant in able:
            found = results[entrant.name]
            if isinstance(found, str):
                continue
            jobs = max(int(setting.jobs * entrant.share_of_jobs), 1)
            warm_up = max(int(setting.warm_up * entrant.share_of_jobs), 1)
            changes: dict[str, Any] = {"jobs": jobs, "warm_up": warm_up} | entrant.changes
            own = attrs.evolve(setting, **changes)
            command = around.command(entrant.command, json.dumps(attrs.asdict(own)))
            figures = run(command, entrant)
            if figures is None:
                results[entrant.name] = FAILED
            else:
                found.append(figures)
    return results


def run(command: list[str], entrant: Entrant) -> Figures | None:
    """Run a contender once, and return what it measured; None where it failed."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"{entrant.name}: {error}\n{getattr(error, 'stderr', '') or ''}", file=sys.stderr)
        return None
