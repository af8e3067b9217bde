"""The loop: mutate an input that did something new, run it, and keep it where it does something new itself."""

from __future__ import annotations

import time
import traceback
import tracemalloc
from collections.abc import Hashable
from random import Random

import attrs

from tests.fuzz.branches import Reached, Steps, count_branches
from tests.fuzz.target import Outcome, Target
from tests.fuzz.watchdog import Hang, Watchdog

# tracing makes an input six times as slow: all are traced while most is new, then some
TRACED_FIRST = 3000
TRACE_EVERY = 8
# an input whose memory is measured is several times as slow
MEASURE_EVERY = 500
# longer ones are run, but not altered further: they would take most of the time
LONGEST_KEPT = 4096
# what one input may make a parser allocate: events and their parts for every few bytes, and buffers
MOST_MEMORY = 1 << 20
MOST_MEMORY_PER_BYTE = 200


class Finding(Exception):
    """An input with which something was wrong; the reason is the cause."""

    def __init__(self, target: str, data: bytes, reason: BaseException) -> None:
        self.target = target
        self.data = data
        self.reason = reason
        super().__init__(self.describe(data))

    def describe(self, data: bytes) -> str:
        """Say what was wrong, and how to see it again with an input."""
        reason = "".join(traceback.format_exception(self.reason)).rstrip()
        return (
            f"{reason}\nsee it again: python -m tests.fuzz --target {self.target!r} --replay {data.hex() or repr('')}"
        )


@attrs.define
class Figures:
    """What a run has seen; times in seconds of processor time, memory in bytes, that of the process in KiB."""

    target: str
    unit: str
    inputs: int = 0
    past_first: int = 0
    kept: int = 0
    longest: int = 0
    slowest: float = 0.0
    most_memory: int = 0
    # of the process
    peak: int = 0
    seconds: float = 0.0
    branches: int = 0
    reached: int = 0
    missing: dict[str, int] = attrs.field(factory=dict)


class Fuzzer:
    """Feeds one target; the same seed gives the same inputs."""

    def __init__(self, target: Target, seed: int) -> None:
        self.target = target
        # what did something new, and what of it is altered further
        self.kept: list[bytes] = []
        self._corpus: list[bytes] = []
        self.figures = Figures(target.name, target.unit)
        self._rng = Random(f"{seed} {target.name}")
        self._steps = Steps(target.code)
        self._known_steps: set[int] = set()
        self._known_shapes: set[Hashable] = set()

    def run(self, inputs: int) -> Figures:
        """Run so many inputs, the seeds among them.

        Raises:
            Finding: something was wrong with one of them.
        """
        begun = time.process_time()
        with Watchdog() as watchdog:
            for number in range(inputs):
                watchdog.beat += 1
                data = self.target.seeds[number] if number < len(self.target.seeds) else self._mutate()
                if number % MEASURE_EVERY == MEASURE_EVERY - 1:
                    outcome, steps = self._measure(data)
                else:
                    outcome, steps = self._run(data, number < TRACED_FIRST or number % TRACE_EVERY == 0)
                self.figures.past_first += outcome.past_first
                self.figures.longest = max(self.figures.longest, len(data))
                if not (steps <= self._known_steps and outcome.shape <= self._known_shapes):
                    self._known_steps |= steps
                    self._known_shapes |= outcome.shape
                    self._keep(data)
        figures = self.figures
        figures.inputs += inputs
        figures.kept = len(self.kept)
        figures.seconds += time.process_time() - begun
        return figures

    def count_branches(self) -> Reached:
        """Count the branches that the inputs reach which were kept: these are all that were reached."""
        return count_branches(self.target.code, lambda: [self.target.drive(data) for data in self.kept])

    def _keep(self, data: bytes) -> None:
        self.kept.append(data)
        if len(data) <= LONGEST_KEPT:
            self._corpus.append(data)

    def _mutate(self) -> bytes:
        corpus, rng = self._corpus, self._rng
        # the newest half is where something new was found last
        newest = rng.randrange(len(corpus) // 2, len(corpus)) if rng.random() < 0.5 else rng.randrange(len(corpus))
        return self.target.grammar.mutate(rng, corpus[newest], rng.choice(corpus))

    def _run(self, data: bytes, trace: bool) -> tuple[Outcome, set[int]]:
        try:
            if trace:
                with self._steps as steps:
                    return self.target.drive(data), steps.taken
            begun = time.process_time()
            outcome = self.target.drive(data)
        except (Exception, Hang) as reason:
            raise Finding(self.target.name, data, reason) from reason
        self.figures.slowest = max(self.figures.slowest, time.process_time() - begun)
        return outcome, set()

    def _measure(self, data: bytes) -> tuple[Outcome, set[int]]:
        tracemalloc.start()
        try:
            outcome, steps = self._run(data, trace=False)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.figures.most_memory = max(self.figures.most_memory, peak)
        if peak > MOST_MEMORY + MOST_MEMORY_PER_BYTE * len(data):
            raise Finding(self.target.name, data, MemoryError(f"{peak} bytes for {len(data)}"))
        return outcome, steps


def shrink(target: Target, data: bytes) -> bytes:
    """Return a shorter input with which the same kind of thing is wrong."""
    kind = _fault(target, data)
    size = len(target.grammar.split(data)) if kind is not None else 0
    while size:
        units = target.grammar.split(data)
        for start in range(0, len(units), size):
            shorter = b"".join(units[:start] + units[start + size :])
            if len(shorter) < len(data) and _fault(target, shorter) == kind:
                data = shorter
                break
        else:
            size //= 2
    return data


def _fault(target: Target, data: bytes) -> tuple[type[BaseException], int] | None:
    with Watchdog():
        try:
            target.drive(data)
        except (Exception, Hang) as fault:
            # a hang is stopped anywhere
            where = 0 if isinstance(fault, Hang) else traceback.extract_tb(fault.__traceback__)[-1].lineno or 0
            return type(fault), where
    return None
