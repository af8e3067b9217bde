"""How many jobs others run a second from the same database: empty ones, by as many workers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from time import perf_counter
from urllib.parse import parse_qs, unquote, urlsplit

import procrastinate

from benchmarks.durable.surroundings import WORKERS
from fcgi_async import Dispatcher, Job

MESSENGER = Path(__file__).parent / "messenger.php"


async def through_procrastinate(php: Dispatcher, url: str, script: str, count: int) -> float:
    """Return how many jobs a second procrastinate runs, each of which runs a script on PHP-FPM as ours do."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))

    @app.task(name="empty")
    async def empty() -> None:
        await php.run(Job(script))

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await empty.batch_defer_async(*({} for _ in range(count)))
        begun = perf_counter()
        await app.run_worker_async(wait=False, concurrency=WORKERS, install_signal_handlers=False)
        return count / (perf_counter() - begun)


def through_messenger(url: str, count: int) -> float:
    """Return how many messages a second Messenger's workers consume; nothing is run for one, and no FPM is asked."""
    parameters = json.dumps(_dbal(url))
    command = ["php", str(MESSENGER)]
    subprocess.run([*command, "put", str(count), parameters], check=True)
    begun = perf_counter()
    consumers = [subprocess.Popen([*command, "consume", str(count), parameters]) for _ in range(WORKERS)]
    for consumer in consumers:
        assert consumer.wait() == 0
    return count / (perf_counter() - begun)


def _dbal(url: str) -> dict[str, object]:
    """Return what Doctrine's DBAL calls the parts of a URL."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {"driver": "pdo_sqlite", "path": parts.path}
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if parts.scheme == "mysql":
        return {
            "driver": "pdo_mysql",
            "unix_socket": query["unix_socket"],
            "user": parts.username,
            "dbname": parts.path.lstrip("/"),
        }
    return {
        "driver": "pdo_pgsql",
        "host": unquote(parts.netloc.rpartition("@")[2]),
        "user": parts.username,
        "dbname": parts.path.lstrip("/"),
    }
