"""What the page about Laravel says of `fcgi-async serve`, and of files that PHP names."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fcgi_async import LocalFPM
from tests.apps.laravel_app import write_project
from tests.asgi.server import ROOT, serving, uvicorn
from tests.docs.blocks import DOCS, blocks
from tests.eventually import soon

SERVE = [sys.executable, "-m", "fcgi_async", "serve", ".", "--scripts", "front", "--listen", "127.0.0.1:0"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project, behind a link as a deploy leaves it."""
    write_project(tmp_path / "release")
    (tmp_path / "current").symlink_to(tmp_path / "release")
    return tmp_path / "current"


def test_serve(project: Path, tmp_path: Path) -> None:
    """public/ is found, links are followed, only the front controller runs, and a proxy's word of https counts."""
    public = project / "storage" / "app" / "public"
    (public / "evil.php").write_text("<?php echo 'ran';")
    with serving(SERVE, {"PYTHONPATH": str(ROOT)}, tmp_path, cwd=project) as service:
        with service.client() as client:
            assert client.get("/storage/logo.txt").text == "a logo"
            assert client.get("/storage/evil.php").status_code == 404
            told = client.get("/orders/7", headers={"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"})
            assert (told.json()["client"], told.json()["secure"]) == ("192.0.2.7", True)
            assert client.get("/after").text == "before"
        soon((project / "storage" / "terminated").exists)
        assert service.end() == 0


def test_jobs_of_the_page(project: Path, tmp_path: Path) -> None:
    """Its module runs a route with a parameter that no visitor can send."""
    block = next(block for block in blocks(DOCS / "guides" / "serve-laravel.md") if block.name == "shop_jobs.py")
    (project / "shop_jobs.py").write_text(block.text.replace("/srv/shop", str(project)))
    command = [*SERVE, "--jobs", "shop_jobs:reindex"]
    with serving(command, {"PYTHONPATH": str(ROOT)}, tmp_path, cwd=project) as service, service.client() as client:
        done = project / "storage" / "reindexed"
        soon(done.exists)
        assert done.read_text() == "http://shop.example/internal/reindex"
        token = {"JOB-TOKEN": "from your configuration", "JOB_TOKEN": "from your configuration"}
        assert client.post("/internal/reindex", headers=token).status_code == 403


def test_files_that_laravel_names(project: Path, apps_fpm: LocalFPM, tmp_path: Path) -> None:
    """X-Sendfile-Type tells it that they are sent from this side; they have a tag then, which Laravel does not make."""
    options = {"accel": {"/storage/": str(project / "storage")}, "headers": {"X-Sendfile-Type": "X-Sendfile"}}
    for given, sent_here in (({}, False), (options, True)):
        environment = {
            "FPM": apps_fpm.address,
            "ROOT": str(project / "public"),
            "FRONT": "index.php",
            "SOFTWARE": "test",
            "OPTIONS": json.dumps(given),
        }
        with serving(uvicorn("tests.apps.service:app"), environment, tmp_path) as service, service.client() as client:
            answer = client.get("/report")
            assert answer.content == bytes(range(256)) * 1000
            assert answer.headers["content-disposition"] == "attachment; filename=report.bin"
            assert ("etag" in answer.headers) == sent_here
            assert "x-sendfile" not in answer.headers
