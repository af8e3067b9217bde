"""A small application on Slim, which tells all that PHP was told."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.noise import Noise
from tests.apps.pictures import PNG
from tests.apps.visitor import Visitor

__all__ = ("Slim",)

_SCRIPT = Path(__file__).parent / "slim" / "index.php"


class Slim(Application):
    """Sessions, uploads, every method, and a long answer."""

    name = "slim"
    start = (
        "/",
        "/things/1",
        "/index.php/things/2",
        "/index.php/server",
        "/index.php/server/?x=%2F",
        "/server?a=b&c[]=%20+",
        "/things/%C3%A4/x",
    )
    noise = (Noise("a session's name is random", r"PHPSESSID=([^;\n\"]+)"),)

    def prepare(self) -> None:
        self.root.mkdir()
        shutil.copy(_SCRIPT, self.root)

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(client.get("/notes"), "before logging in")
        yield Answer.of(client.post("/log-in", data={"name": "ada", "password": "wrong"}), "a wrong password")
        yield Answer.of(client.post("/log-in", data={"name": "ada", "password": "secret"}), "log in")
        yield Answer.of(client.put("/notes/1", json={"text": "ä"}), "write a note")
        yield Answer.of(client.put("/notes/2", data={"text": "b"}), "write another one")
        yield Answer.of(client.delete("/notes/1"), "delete one")
        yield Answer.of(client.get("/notes"))
        files = {"one": ("ä.png", PNG, "image/png"), "two": ("empty", b"", "text/plain")}
        yield Answer.of(client.post("/files", data={"field": "value"}, files=files), "upload files")
        yield Answer.of(client.post("/echo", content=bytes(range(256)) * 20_000), "send five megabytes")
        pieces = iter([b"one ", b"two ", b"three"])
        yield Answer.of(client.post("/echo", content=pieces), "send a body without a length")
        yield Answer.of(client.get("/long"), "read three megabytes")
        yield Answer.of(client.request("OPTIONS", "/server", headers={"X-Custom": "1"}), "ask for the options")
        yield Answer.of(client.request("HEAD", "/server"), "only the head")
        yield Answer.of(client.get("/server", headers={"Accept-Language": "de", "Authorization": "Basic YTpi"}))
        yield Answer.of(client.post("/log-out"), "log out")
        yield Answer.of(client.get("/notes"), "after logging out")
