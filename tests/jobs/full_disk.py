"""Fills a disk of 3 MB with jobs, and sees that it goes on once there is room: FOLDER, and "mount" or "quota".

It prints what happened as JSON. Run it in a mount namespace of its own, or with SQLite's own bound instead of a disk's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio

from fcgi_async.jobs import StoreError, StoreFull
from fcgi_async.jobs.record import Lane, Limits, Query, Settlement, StoredResponse
from fcgi_async.jobs.sql.sqlite import SQLiteDialect
from fcgi_async.jobs.sql.sqlite_store import SQLiteStore
from tests.jobs.records import job

SIZE = 3 << 20
PAGES = 400
LANES = [Lane(queue="default", weight=1, tasks=(Limits(task="mail", on_loss="again", attempts=5),))]
DATA = '"' + "x" * 2000 + '"'


async def fill(folder: Path, mounted: bool) -> dict[str, object]:
    """Fill it, find that it is full, make room, and go on."""
    store = SQLiteStore(folder / "jobs.db")
    await store.open()
    await store.register("w", LANES)
    if not mounted:
        await _bound(store, PAGES)
    stored: list[str] = []
    errors: list[str] = []
    # small ones last, so that there is no room for the smallest
    for data in (DATA, "{}"):
        while True:
            new = job(data=data)
            try:
                await store.put([new])
            except StoreError as error:
                errors.append(type(error).__name__)
                break
            stored.append(new.id)
    full = await _settle_large(store)
    there = {record.id for record in await store.find(Query(limit=100_000))}
    if mounted:
        (folder / "filler").unlink()
    else:
        await _bound(store, 4 * PAGES)
    after = await _settle_large(store)
    await store.put([job()])
    counts = await store.counts()
    await store.leave("w")
    await store.aclose()
    return {
        "errors": errors,
        "stored": len(stored),
        "kept": there == set(stored),
        "full": full,
        "after": after,
        "total": sum(counts.states.values()),
    }


async def _settle_large(store: SQLiteStore) -> str:
    """Claim a job and store its long response; return what happened."""
    try:
        [claimed] = (await store.claim("w", LANES, 1, durable=False)).jobs
        response = StoredResponse(status=200, headers={}, content=b"\0" * 200_000)
        settlement = Settlement(
            number=claimed.number, attempt=claimed.attempt, state="done", keep=60.0, response=response
        )
        return "settled" if await store.settle("w", [settlement]) == [True] else "lost"
    except StoreFull:
        return "StoreFull"


async def _bound(store: SQLiteStore, pages: int) -> None:
    def bound(dialect: SQLiteDialect) -> None:
        dialect.query(f"PRAGMA max_page_count = {pages}")

    await store._committer.call(bound)


if __name__ == "__main__":
    if sys.argv[2] == "mount":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", sys.argv[1]], check=True)
        (Path(sys.argv[1]) / "filler").write_bytes(b"\0" * (1 << 20))
    print(json.dumps(anyio.run(fill, Path(sys.argv[1]), sys.argv[2] == "mount")))
