"""A process for each target: its memory is its own and bounded, and a crash of the interpreter is seen from outside."""

from __future__ import annotations

import faulthandler
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tests.fuzz.loop import Figures, Finding, Fuzzer, shrink
from tests.fuzz.targets import TARGETS

MOST_MEMORY = 1 << 30


def fuzz(name: str, inputs: int, seed: int) -> Figures | str:
    """Fuzz one target in this process; return its figures, or what was found."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    fuzzer = Fuzzer(TARGETS[name], seed)
    try:
        figures = fuzzer.run(inputs)
    except Finding as finding:
        shorter = shrink(fuzzer.target, finding.data)
        return finding.describe(shorter)
    # in KiB on Linux
    figures.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reached = fuzzer.count_branches()
    figures.branches, figures.reached, figures.missing = reached.branches, reached.reached, reached.missing
    return figures


def fuzz_apart(name: str, inputs: int, seed: int) -> Figures | str:
    """Fuzz one target in a process of its own; return its figures, or what was found."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        try:
            return executor.submit(fuzz, name, inputs, seed).result()
        except BrokenProcessPool:
            return f"{name}: the interpreter crashed, with --inputs {inputs} --seed {seed}"
