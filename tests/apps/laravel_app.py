"""A project on Laravel, in the layout that all of them have: public/ with its front controller, and storage linked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.apps.application import Application
from tests.apps.compare import Answer
from tests.apps.noise import Noise
from tests.apps.pictures import PNG
from tests.apps.visitor import Visitor

__all__ = ("PROJECT", "Laravel", "write_project")

PROJECT = Path(__file__).parent / "laravel"


def write_project(folder: Path) -> None:
    """Write the project, as `artisan storage:link` leaves it."""
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    for name in ("bootstrap/cache", "storage/app/public", "storage/sessions", "storage/views"):
        (folder / name).mkdir(parents=True)
    (folder / "public" / "storage").symlink_to(folder / "storage" / "app" / "public")
    (folder / "storage" / "app" / "public" / "logo.txt").write_text("a logo")
    (folder / "storage" / "report.bin").write_bytes(bytes(range(256)) * 1000)


class Laravel(Application):
    """Sessions, uploads into linked storage, downloads, and errors."""

    name = "laravel"
    start = (
        "/",
        "/nowhere",
        "/orders/1?a=1&b[]=2",
        "/index.php/orders/2",
        "/orders%2F3",
        "/storage",
        "/storage/",
        "/fails",
    )
    noise = (Noise("a session's cookie is encrypted", r"shop_session=([^;\n]+)"),)
    changing = ("storage",)

    @property
    def root(self) -> Path:
        return self.folder / "public"

    def prepare(self) -> None:
        write_project(self.folder)

    def session(self, client: Visitor) -> Iterator[Answer]:
        yield Answer.of(client.get("/"))
        yield Answer.of(client.post("/notes", data={"note": "a & b"}), "write a note")
        yield Answer.of(client.post("/notes"), "write nothing")
        yield Answer.of(client.post("/notes", headers={"Accept": "application/json"}), "write nothing by API")
        yield Answer.of(client.get("/notes"), "read the notes")
        yield Answer.of(client.put("/orders/7", json={"text": "ä"}), "change an order")
        yield Answer.of(client.delete("/orders/7"), "a method that there is not")
        yield Answer.of(client.post("/pictures", files={"picture": ("a.png", PNG, "image/png")}), "upload a picture")
        # it was changed in this second
        of_now = ("etag", "last-modified")
        yield Answer.of(client.get("/storage/pictures/a.png"), "look at it", leave_out=of_now)
        yield Answer.of(client.get("/report"), "download a file")
        yield Answer.of(client.get("/report", headers={"Range": "bytes=5-9"}), "download a part of it")
        yield Answer.of(client.get("/stream"), "read what comes in parts")
        yield Answer.of(client.request("HEAD", "/orders/1"), "only the head")
        yield Answer.of(client.get("/after"), "what works on after its answer")
        yield Answer.of(client.get("/fails"), "an error")
