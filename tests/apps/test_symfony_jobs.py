"""The example of Symfony: its visitors order, and jobs on the same workers write the invoices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.asgi.server import Service, serving
from tests.eventually import soon
from tests.examples.conftest import EXAMPLES

SERVE = [sys.executable, "-m", "fcgi_async", "serve", ".", "--scripts", "front", "--jobs", "invoices:write"]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where its orders are."""
    return tmp_path / "orders.sqlite"


def invoices(service: Service) -> int:
    """How many orders have theirs."""
    with service.client() as client:
        return client.get("/").text.count("invoice-")


def test_orders_get_invoices(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred orders have theirs soon, and a visitor who looks meanwhile is answered; none can ask for one."""
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parents[1]))
    command = [*SERVE, "--listen", "127.0.0.1:0"]
    with serving(command, {"ORDERS": str(database)}, tmp_path, cwd=EXAMPLES / "symfony") as service:
        with service.client() as client:
            for n in range(100):
                created = client.post("/orders", json={"article": f"thing {n}"})
                assert created.status_code == 201
            assert created.headers["location"] == f"{service.url}/orders/100"
            refused = client.post("/internal/invoices/1", headers={"JOB": "invoices"})
            assert (refused.status_code, refused.json()) == (403, {"error": "not for visitors"})
            assert client.get("/src/kernel.php").status_code == 404
            soon(lambda: invoices(service) == 100, within=60)
            assert client.get("/orders/7").json()["invoice"] == "invoice-0007"
        assert service.end() == 0
