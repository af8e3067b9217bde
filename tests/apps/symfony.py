"""The example of a Symfony application, with orders to look at."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.visitor import Visitor
from tests.examples.conftest import EXAMPLES

__all__ = ("Symfony",)


class Symfony(Application):
    """A front controller for everything, and PATH_INFO empty."""

    name = "symfony"
    start = ("/", "/style.css", "/nowhere", "/orders/999", "/orders/1?x=1&x=2", "/index.php/orders/2", "/orders%2F3")
    avoid = re.compile(r"(?!)")
    changing = ("orders.sqlite",)

    def prepare(self) -> None:
        shutil.copytree(EXAMPLES / "symfony" / "public", self.root)
        shutil.copytree(EXAMPLES / "symfony" / "src", self.folder / "src")
        front = self.root / "index.php"
        database = f"'{self.folder}/orders.sqlite'"
        front.write_text(front.read_text().replace("getenv('ORDERS')", database))

    def install(self, client: Visitor) -> None:
        for n in range(1, 66):
            assert client.post("/orders", json={"article": f"thing {n}"}).status_code == 201

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(client.get("/"))
        yield Answer.of(client.post("/form", data={"article": "a & b"}), "order by form")
        yield Answer.of(client.post("/orders", json={"article": "c"}), "order by API")
        yield Answer.of(client.post("/orders", content=b"{"), "order nonsense")
        yield Answer.of(client.delete("/orders/1"), "a method that there is not")
        yield Answer.of(client.post("/internal/invoices/1", headers={"Job": "invoices"}), "what is not for visitors")
        yield Answer.of(client.request("HEAD", "/orders/1"), "only the head")
        yield Answer.of(client.get("/"), "look at all")
