"""Jobs that answer first and work afterwards, with fastcgi_finish_request(): who asks waits for the answer only.

python finish_early.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM

SCRIPTS = str(Path(__file__).parent / "php")


async def main() -> None:
    """Order two letters from one worker, and see them written after they were promised."""
    async with LocalFPM(max_children=1) as fpm, Dispatcher(Endpoint(fpm.address, max_children=1, root=SCRIPTS)) as php:
        with tempfile.TemporaryDirectory() as folder:
            letter = {"folder": folder, "to": "ada"}
            accepted = await php.run(Job("letter.php", json=letter, success_mark='{"success":true}'))
            print(accepted.text.splitlines()[0])

            # The worker is still writing, and counted as taken: this job begins when it has done. And who wants to wait
            # for the work, not only for the answer, says so.
            await php.run(Job("letter.php", json=letter | {"to": "bob"}, finishes_early=False))
            print(sorted([path.name async for path in anyio.Path(folder).iterdir()]))


anyio.run(main)
