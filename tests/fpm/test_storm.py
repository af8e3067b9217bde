"""A thousand jobs, or ten thousand, that are cancelled, run out of time or lose their worker at random: errors tell the
truth, and nothing is left behind.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import anyio
import attrs
import pytest

from fcgi_async import Dispatcher, Endpoint, FastCGIError, Job, LocalFPM
from tests.conftest import StartFPM
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.fpm.leftovers import Baseline

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

AT_ONCE = 100
STAY = 0.002

how_many = pytest.mark.parametrize("jobs", [1_000, pytest.param(10_000, marks=pytest.mark.long)])


@attrs.define(eq=False)
class Storm:
    """Sends many jobs and gives up on them at random; the file in which scripts note that they ran is the witness."""

    php: Dispatcher
    ran_file: Path
    random: Random
    # by the number of the job: what its error said; a call that was cancelled says nothing
    may_have_run: dict[int, bool] = attrs.field(factory=dict)
    answered: set[int] = attrs.field(factory=set)
    faults: Counter[str] = attrs.field(factory=Counter)
    # how long the last answered call took: the measure of everybody's patience, whatever the machine
    pace: float = 0.03

    async def send(self, jobs: int, first: int = 0) -> None:
        """Send so many jobs, 100 at a time, numbered from the `first` on."""
        numbers = iter(range(first, first + jobs))

        async def sender() -> None:
            for number in numbers:
                await self.send_one(number)
                assert slots(self.php.statistics()) <= self.php.statistics().share

        async with anyio.create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(sender)

    async def send_one(self, number: int) -> None:
        """Send a job, and give up on it in one of four ways, or not."""
        stay = self.random.choice((0.0, 0.0, STAY))
        job = Job("ran.php", query={"file": str(self.ran_file), "name": str(number), "seconds": str(stay)})
        patience, begun = self.random.uniform(0.0, 1.5 * self.pace), anyio.current_time()
        try:
            match self.random.randrange(4):
                case 0:
                    with anyio.move_on_after(patience) as scope:
                        await self.php.run(job)
                    self.faults["call cancelled"] += scope.cancelled_caught
                    if scope.cancelled_caught:
                        return
                case 1:
                    handle = await self.php.submit(job)
                    with anyio.move_on_after(patience):
                        await handle
                    handle.cancel()
                    handle.result()
                case 2:
                    await self.php.run(job, timeout=patience)
                case 3:
                    async with self.php.stream(job) as response:
                        if self.random.random() < 0.5:
                            self.faults["stream left"] += 1
                            return
                        await response.aread()
            self.answered.add(number)
            self.pace = anyio.current_time() - begun
        except FastCGIError as error:
            self.faults[type(error).__name__] += 1
            self.may_have_run[number] = error.may_have_run

    def check(self) -> None:
        """See that no job ran twice, that who was answered ran, and that `may_have_run` was False of none that ran."""
        runs = Counter(map(int, self.ran_file.read_text().split()))
        assert not [number for number, times in runs.items() if times > 1]
        assert self.answered <= runs.keys()
        assert not [number for number, may in self.may_have_run.items() if not may and number in runs]


@asynccontextmanager
async def storm(fpm: LocalFPM, scripts: Path, ran: Path, random: Random) -> AsyncIterator[Storm]:
    endpoint = Endpoint(fpm.address, max_children=fpm.max_children, root=str(scripts), linger=0.05)
    async with Dispatcher(endpoint) as php:
        await php.ping()
        yield Storm(php, ran, random)
        await settled(php)
        with anyio.fail_after(20):
            assert (await php.run(Job("respond.php", query={"body": "calm"}, idempotent=True))).text == "calm"


@pytest.fixture
def random() -> Random:
    """A generator whose seed is printed."""
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    return Random(seed)


@how_many
async def test_jobs_given_up_at_random(jobs: int, fpm: LocalFPM, scripts: Path, tmp_path: Path, random: Random) -> None:
    """Jobs cancelled, left or timed out at whatever moment: no false word, no slot, task or descriptor left."""
    async with storm(fpm, scripts, tmp_path / "ran", random) as it:
        await settled(it.php)
        baseline = Baseline.now(it.php.statistics())
        await it.send(jobs)
        await settled(it.php)
        await eventually(lambda: baseline.restored(it.php.statistics()))
        it.check()
        assert set(it.faults) == {"call cancelled", "JobCancelled", "QueueTimeout", "JobTimeout", "stream left"}
        assert it.faults.total() > jobs / 4


@how_many
async def test_jobs_while_workers_are_killed(
    jobs: int, start_fpm: StartFPM, scripts: Path, tmp_path: Path, random: Random
) -> None:
    """Whatever else befalls them, jobs whose workers are killed are told the truth of, and none is run twice."""
    fpm = await start_fpm(max_children=4)
    async with storm(fpm, scripts, tmp_path / "ran", random) as it, anyio.create_task_group() as tasks:
        tasks.start_soon(kill_workers, fpm, it)
        for first in range(0, 20 * jobs, jobs):
            await it.send(jobs, first)
            # whether one dies over a job is chance, since FPM replaces them slowly
            if it.faults["ConnectionLost"]:
                break
        tasks.cancel_scope.cancel()
    it.check()
    # on one core FPM replaces them slowly, and few die over a job
    assert it.faults["killed"] > jobs / 500
    assert it.faults["ConnectionLost"]


async def kill_workers(fpm: LocalFPM, it: Storm) -> None:
    """Kill one worker after the other, each as soon as FPM has replaced the last."""
    while True:
        await eventually(lambda: len(fpm.worker_pids()) == fpm.max_children)
        with suppress(ProcessLookupError):
            os.kill(it.random.choice(fpm.worker_pids()), it.random.choice((signal.SIGKILL, signal.SIGTERM)))
            it.faults["killed"] += 1
        await anyio.sleep(it.random.uniform(0.0, 0.005))
