"""Python in the documentation that is no file of its own runs as it stands, page by page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, PAGES, ROOT, Block, blocks
from tests.docs.machine import Machine
from tests.docs.running import run

# run as what they are: an application that a server opens, a project with a plugin
ELSEWHERE = {
    DOCS / "asgi.md": "tests/asgi/test_documentation.py",
}
PROMISE = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def fragments(page: Path) -> list[Block]:
    """The Python blocks of a page that are no files."""
    return [block for block in blocks(page) if block.language == "python" and block.name is None]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if fragments(page) and page not in ELSEWHERE],
    ids=lambda page: page.relative_to(DOCS).as_posix(),
)
async def test_a_page(page: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks run one after the other, and print what their comments say."""
    monkeypatch.chdir(tmp_path)
    machine.prepare(page, tmp_path)
    for block in blocks(page):
        if block.name is not None:
            machine.save(block, tmp_path)
    names: dict[str, object] = {"__name__": "documentation"}
    for block in fragments(page):
        source = machine.translate(block.text, tmp_path)
        printed = await run(source, names, file=str(page), line=block.line)
        assert printed.splitlines() == PROMISE.findall(block.text), block.place


def test_those_run_elsewhere_are_there() -> None:
    """A page that is left to another test has code, and the test is there."""
    for page, test in ELSEWHERE.items():
        assert fragments(page)
        assert (ROOT / test.partition("::")[0]).exists()


@pytest.mark.anyio
async def test_a_wrong_promise_is_found() -> None:
    """What is printed is compared, not only run."""
    source = "print(1 + 1)  # 3\n"
    assert (await run(source, {}, file="page.md")).splitlines() != PROMISE.findall(source) == ["3"]
