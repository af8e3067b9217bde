"""Running WordPress beside its visitors: a page by its permalink, an action of admin-ajax.php, and wp-cron.php.

    python wordpress.py

The site here is a few lines that behave as WordPress does in what matters: it sends everybody to its own host, routes
by REQUEST_URI, and its cron answers at once and works afterwards. With your own, leave workers to the visitors:
`Endpoint.from_fpm_config("/etc/php/8.2/fpm/php-fpm.conf", root="/var/www/html")` reserves a quarter of them.
"""

from __future__ import annotations

from pathlib import Path

import anyio

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM

ROOT = str(Path(__file__).parent / "wordpress")
# without the host that its address names, and HTTPS where that says https, WordPress answers with a redirect
HOST = {"Host": "blog.example"}
SITE = {"HTTPS": "on", "SERVER_NAME": "blog.example", "SERVER_PORT": "443"}


async def main() -> None:
    """Warm two pages, run an action, and let the cron work."""
    async with LocalFPM(max_children=3) as fpm:
        endpoint = Endpoint(fpm.address, max_children=3, reserve=1, root=ROOT, headers=HOST, params=SITE)
        async with Dispatcher(endpoint) as php:
            pages = await php.run_all(Job("index.php", uri=uri) for uri in ("/2024/05/hello-world/", "/?p=2"))
            print([page.text for page in pages])
            form = {"action": "regenerate_thumbnail", "id": "7"}
            print((await php.run(Job("wp-admin/admin-ajax.php", form=form))).json())
            # finishes_early=False: until the due tasks are done, not only until WordPress has answered
            cron = await php.run(Job("wp-cron.php", query={"doing_wp_cron": ""}, finishes_early=False))
            print(cron.status, cron.content)
            strange = await php.run(Job("index.php", uri="/", headers={"Host": "localhost"}))
            print(strange.status, strange.headers["location"])


anyio.run(main)
