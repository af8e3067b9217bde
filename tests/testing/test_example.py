"""The plugin as pytest finds it, and the examples of docs/testing.md, run as a project of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, ROOT, blocks

LOOPS = """
import anyio, pytest, pytest_asyncio, asyncio
from fcgi_async import Dispatcher, Job

async def ask(responder):
    responder.on("/x.php").reply(json={"id": 7})
    async with Dispatcher(responder.address, max_children=1) as php:
        assert (await php.run(Job("/x.php"))).json() == {"id": 7}
    responder.assert_asked_once("/x.php")

@pytest.mark.asyncio
async def test_pytest_asyncio(fcgi_responder):
    await ask(fcgi_responder)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_anyio(fcgi_responder):
    await ask(fcgi_responder)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_factory(fcgi_responder_factory):
    async with fcgi_responder_factory() as responder:
        await ask(responder)
        responder.reload()

def test_no_loop(fcgi_responder):
    anyio.run(ask, fcgi_responder, backend="trio")
"""


def run_pytest(folder: Path, *options: str, **environment: str) -> str:
    """Run pytest on a folder as its user would; return what it says."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options]
    settings = ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = subprocess.run(
        [*command, *settings], cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


def test_pytest_finds_the_plugin() -> None:
    """It is installed under pytest's entry point, beside the package."""
    [found] = entry_points(group="pytest11", name="fcgi_async")
    assert found.value == "pytest_fcgi_async"
    source = ROOT / "fcgi_async" / "testing" / "pytest_fcgi_async.py"
    assert Path(str(found.load().__file__)).read_text() == source.read_text(), "run: make venv"


def test_the_plugin_costs_nothing() -> None:
    """Loading it loads nothing that pytest has not loaded already."""
    source = (
        "import sys, pytest, collections.abc, typing; before = set(sys.modules); import pytest_fcgi_async; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pytest_fcgi_async"]


def test_examples_run(tmp_path: Path) -> None:
    """The tests of the page pass as they stand."""
    found = [block for block in blocks(DOCS / "testing.md") if block.name is not None]
    assert len(found) == 3
    for block in found:
        assert block.name is not None
        (tmp_path / block.name).write_text(block.text)
    said = run_pytest(tmp_path)
    assert f"{sum(block.text.count('async def test_') for block in found)} passed" in said, said


@pytest.mark.parametrize("how", ["found", "named in conftest.py", "-p"])
def test_every_way_to_run_an_event_loop(tmp_path: Path, how: str) -> None:
    """Fixtures serve pytest-asyncio, anyio on each loop, and no loop; however the plugin is loaded."""
    (tmp_path / "test_loops.py").write_text(LOOPS)
    options: list[str] = []
    environment: dict[str, str] = {}
    if how == "named in conftest.py":
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["fcgi_async.testing.plugin"]\n')
    elif how == "-p":
        options = ["-p", "pytest_fcgi_async", "-p", "asyncio", "-p", "anyio"]
        environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said = run_pytest(tmp_path, *options, **environment)
    assert "6 passed" in said, said


def test_an_error_of_an_answer_fails_its_test(tmp_path: Path) -> None:
    """An assertion in a function that answers is not lost."""
    (tmp_path / "test_it.py").write_text(
        "import anyio\n"
        "from fcgi_async import Dispatcher, Job\n"
        "def test_it(fcgi_responder):\n"
        "    def answer(request):\n"
        "        assert request.json() == 7, 'not seven'\n"
        "    fcgi_responder.on().reply(answer)\n"
        "    async def ask():\n"
        "        async with Dispatcher(fcgi_responder.address, max_children=1) as php:\n"
        "            await php.run(Job('/x.php', json=8))\n"
        "    anyio.run(ask)\n"
    )
    said = run_pytest(tmp_path)
    assert re.search(r"AssertionError: not seven", said), said
    assert "1 passed, 1 error" in said
