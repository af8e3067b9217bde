"""A WordPress beside the routes of a FastAPI service: one process, one pool of PHP workers, no web server in between.

FPM=unix:///run/php/php8.2-fpm.sock MAX_CHILDREN=8 uvicorn blog_service:app
curl -H 'Host: blog.example' -H 'X-Forwarded-Proto: https' http://127.0.0.1:8000/2024/05/hello-world/

Visitors of the site go before the service's own jobs, and one worker is kept for them.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Request

from fcgi_async import Dispatcher, Endpoint, Job
from fcgi_async.asgi import PHPApplication, lifespan

ROOT = Path(os.environ.get("ROOT", Path(__file__).parent / "wordpress")).resolve()


def make() -> Dispatcher:
    """Return the dispatcher that the site and the jobs share."""
    endpoint = Endpoint(os.environ["FPM"], max_children=int(os.environ.get("MAX_CHILDREN", "8")), kept={10: 1})
    return Dispatcher(endpoint)


app = FastAPI(lifespan=lifespan(make))


@app.post("/api/cron")
async def cron(request: Request) -> dict[str, int]:
    """Let WordPress do what is due, as a job of the lowest priority."""
    job = Job(
        str(ROOT / "wp-cron.php"),
        query={"doing_wp_cron": ""},
        headers={"Host": "blog.example"},
        params={"HTTPS": "on"},
    )
    return {"status": (await request.state.php.run(job)).status}


# what no route answers is the site's
app.mount("/", PHPApplication(ROOT, hosts=["blog.example"], retry="get"))
