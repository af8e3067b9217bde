"""Jobs of a Symfony application, on the workers that serve it to its visitors.

    cd docs/examples/symfony
    fcgi-async serve . --scripts front --jobs invoices:write

Each new order gets its invoice within a second; a visitor never waits for that, because the jobs leave a worker free.
"""

from __future__ import annotations

import re
from pathlib import Path

import anyio

from fcgi_async import Dispatcher, Job

PUBLIC = Path(__file__).parent / "public"
# no request from outside can carry it
OURS = {"JOB": "invoices"}
OPEN = re.compile(r'/orders/(\d+)">[^<]*</a> no invoice yet')


async def write(php: Dispatcher) -> None:
    """Look for orders without an invoice, and write theirs, until cancelled."""
    shop = php.view(root=PUBLIC, params=OURS, headers={"Host": "shop.example"})
    while True:
        page = await shop.run(Job("index.php", uri="/"))
        orders = OPEN.findall(page.text)
        async with shop.map(
            Job("index.php", uri=f"/internal/invoices/{order}", method="POST") for order in orders
        ) as outcomes:
            async for outcome in outcomes:
                outcome.result().raise_for_status()
        await anyio.sleep(1)
