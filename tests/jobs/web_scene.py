"""Jobs in every state, to look at; as a program it writes the picture of the page that stands in the documentation.

Usage: python -m tests.jobs.web_scene docs/images/jobs.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import cast

from anyio.from_thread import start_blocking_portal

from fcgi_async.jobs import Jobs, Task
from fcgi_async.jobs.fate import LOST
from fcgi_async.jobs.record import Lane, Limits, Settlement, State
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.store import SQLStore

__all__ = ("make_scene",)

MAIL = Task("mail", "/srv/app/mail.php", queue="mail", idempotent=True)
THUMBNAIL = Task("thumbnail", "/srv/app/thumbnail.php")
INVOICE = Task("invoice", "/srv/app/invoice.php")
ENDS: tuple[tuple[Task, State, str, str], ...] = (
    (INVOICE, "in_doubt", f"{LOST}; FPM's status page shows that PHP ran it to its end, and the response was lost", ""),
    (INVOICE, "in_doubt", "JobTimeout: no response within 30 s", "PHP Warning:  slow bank in invoice.php on line 12"),
    (
        MAIL,
        "dead",
        "PHP answered with status 503; all 8 attempts are used up",
        "PHP Warning:  SMTP 451 4.7.1 try later",
    ),
    (THUMBNAIL, "dead", "PHP answered with status 422", "PHP Warning:  not a picture: upload-118.heic"),
)


def _lanes(*tasks: Task) -> list[Lane]:
    return [
        Lane(queue=task.queue, weight=1, tasks=(Limits(task=task.name, on_loss=task.on_loss, attempts=5),))
        for task in tasks
    ]


async def make_scene(url: str) -> None:
    """Put jobs that wait, run, are done, dead and in doubt; their worker stays."""
    async with Jobs(url) as jobs:
        store = cast("SQLStore[Dialect]", jobs.store)
        lanes = _lanes(MAIL, THUMBNAIL, INVOICE)
        await store.register("web-1-4711-5a1e", lanes)
        for task, state, error, stderr in ENDS:
            await jobs.enqueue(task, {"id": 118})
            [claimed] = (await store.claim("web-1-4711-5a1e", _lanes(task), 1, durable=False)).jobs
            settlement = Settlement(
                number=claimed.number, attempt=1, state=state, error=error, stderr=stderr or None, counts=True
            )
            await store.settle("web-1-4711-5a1e", [settlement])
        await jobs.enqueue_many((THUMBNAIL, {"id": number}) for number in range(1230))
        await jobs.enqueue_many((MAIL, {"to": f"{number}@example.org"}) for number in range(64))
        await jobs.enqueue(MAIL, {"to": "later@example.org"}, delay=3600)
        await store.claim("web-1-4711-5a1e", _lanes(THUMBNAIL, MAIL), 4, durable=False)
        await store._committer.call(_adorn)


def _adorn(session: Dialect) -> None:
    session.change("UPDATE fcgi_jobs SET progress = 3, progress_of = 10 WHERE state = 'running' AND task = 'thumbnail'")
    session.change("UPDATE fcgi_workers SET host = 'web-1', pid = 4711")


def main(target: str) -> None:
    """Take the picture."""
    from tests.examples.browser import browser
    from tests.jobs.test_web import serving

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite://{folder}/jobs.db"
        with start_blocking_portal() as portal:
            portal.call(make_scene, url)
        with serving(url, "--actions") as address, browser(Path(folder, "profile"), width=1100, height=1400) as driver:
            driver.get(address)
            driver.save_screenshot(target)


if __name__ == "__main__":
    main(sys.argv[1])
