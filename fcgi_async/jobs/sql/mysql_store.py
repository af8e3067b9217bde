"""MySQLStore: jobs in MariaDB or MySQL; leases show which workers are alive, and workers poll for jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, cast

import anyio

from fcgi_async.jobs.change import Change
from fcgi_async.jobs.crowd import stretch
from fcgi_async.jobs.errors import StoreError, StoreUnavailable
from fcgi_async.jobs.record import Lane
from fcgi_async.jobs.sql.mysql import MySQLDialect
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.sql.server_store import ServerStore
from fcgi_async.jobs.store import Bell, Claim
from fcgi_async.jobs.thread_calls import current_post

__all__ = ("MySQLStore",)

# seconds between looks: few after something was found, and more after each look that finds nothing
_SHORTEST: Final = 0.05
_LONGEST: Final = 1.0
_GROWTH: Final = 1.3
# a job that others made ready again has no new number, and one that waited for a limit was always ready
_WORK: Final = """SELECT (SELECT COALESCE(MAX(number), 0) FROM fcgi_jobs),
    (SELECT COUNT(*) FROM (SELECT 1 FROM fcgi_jobs WHERE state = 'ready' LIMIT 1000) AS found),
    (SELECT COUNT(*) FROM fcgi_jobs WHERE worker IS NOT NULL)"""


class MySQLStore(ServerStore[MySQLDialect]):
    """Jobs in MariaDB or MySQL, for processes of any number of machines.

    Args:
        url: the URL of the database.
        lease: seconds after its last renewal until a worker counts as dead.

    Raises:
        ConfigurationError: it is no such URL.
    """

    placeholder: ClassVar[str] = "%s"

    def __init__(self, url: str, lease: float) -> None:
        super().__init__(MySQLDialect(Address(url), lease), lease)
        # at the last look: the highest number, and how many jobs were ready and claimed
        self._seen = (0, 0, 0)
        # how often there was work, and how many looks have found none since
        self._found = self._looks = 0
        self._change = Change()

    async def open(self, *, waits: bool = False) -> StoreUnavailable | None:
        """As `Store.open()`."""
        post = current_post()
        self._dialect.on_work = lambda: post(self._find)
        return await super().open(waits=waits)

    async def claim(self, worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        """As `Store.claim()`."""
        claim = await super().claim(worker, lanes, count, durable=durable)
        number, ready, in_hands = self._seen
        self._seen = (number, max(ready - len(claim.jobs), 0), in_hands)
        return claim

    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """As `Store.wait()`: looks for work every 50 ms to 1 s, and assumes that jobs have ended each time."""
        if bell == "ends":
            with anyio.move_on_after(timeout):
                if heard >= 0:
                    await anyio.sleep(_pause(heard))
                return heard + 1
            return heard
        if heard < 0:
            await self._look()
            return self._found
        with anyio.move_on_after(timeout):
            while self._found == heard:
                with anyio.move_on_after(min(_pause(self._looks) * stretch(self.crowd), _LONGEST)):
                    await self._change.until(lambda: self._found != heard)
                    break
                await self._look()
        return self._found

    async def _look(self) -> None:
        """Count it if there is more work than at the last look."""
        try:
            rows = await self._committer.call(lambda dialect: dialect.query(_WORK), durable=False, writes=False)
        except StoreError:
            return
        now = cast("tuple[int, int, int]", rows[0])
        before, self._seen = self._seen, now
        if now[0] > before[0] or now[1] > before[1] or now[2] < before[2]:
            self._find()
        else:
            self._looks += 1

    def _find(self) -> None:
        self._found += 1
        self._looks = 0
        self._change.tell()

    def ring(self) -> None:
        """As `Store.ring()`, in this process; other processes poll."""
        self._find()


def _pause(looks: int) -> float:
    return min(_SHORTEST * _GROWTH ** min(looks, 50), _LONGEST)
