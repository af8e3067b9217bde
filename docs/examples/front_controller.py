"""Calling the routes of an application that has a front controller, as Laravel and Symfony have: by `uri`.

    python front_controller.py

`Endpoint.root` is the application's public folder, the script is always index.php, and `uri` is what a browser would
ask for: it becomes REQUEST_URI, by which the application routes.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM

PUBLIC = str(Path(__file__).parent / "shop" / "public")
# applications build links from these
SITE = {"HTTPS": "on", "SERVER_NAME": "shop.example", "SERVER_PORT": "443"}


def route(uri: str, *, method: str | None = None, json: object = None) -> Job:
    """A job for a route of the API."""
    return Job("index.php", uri=uri, method=method, json=json, headers={"Accept": "application/json"})


async def main() -> None:
    """Call a few routes, two of them at once."""
    async with LocalFPM(max_children=2) as fpm:
        endpoint = Endpoint(fpm.address, max_children=2, root=PUBLIC, params=SITE, headers={"Host": "shop.example"})
        async with Dispatcher(endpoint) as php:
            created = await php.run(route("/api/orders", json={"article": 7}))
            print(created.status, created.headers["location"])
            one, two = await php.run_all([route("/api/orders/1?with=lines"), route("/api/orders/2")])
            print(one.json())
            print(two.json())
            gone = await php.run(route("/api/orders/1", method="DELETE"))
            print(gone.status, (await php.run(route("/nowhere"))).status)


anyio.run(main)
