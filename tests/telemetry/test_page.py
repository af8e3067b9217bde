"""The page about telemetry names every logger, and its code runs."""

from __future__ import annotations

import ast
import inspect
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import fcgi_async
from fcgi_async import LocalFPM

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PROMISE = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def test_every_logger_is_named() -> None:
    """The table has the loggers that the code has, and no others."""
    sources = [path.read_text() for path in Path(fcgi_async.__file__).parent.rglob("*.py")]
    loggers = {name for source in sources for name in re.findall(r'= logging\.getLogger\("(\w+\.\w+)"\)', source)}
    assert set(re.findall(r"^\| `(fcgi_async\.\w+)` \|", PAGE, re.MULTILINE)) == loggers


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """What the page says is at /srv/app."""
    (tmp_path / "thumb.php").write_text("<?php echo 'done';")
    return tmp_path


@pytest.mark.anyio
async def test_its_code_runs(fpm: LocalFPM, app: Path) -> None:
    """The blocks run one after the other, and print what their comments say."""
    names: dict[str, object] = {"__name__": "documentation"}
    assert CODE
    for block in CODE:
        source = block.replace("unix:///run/php/php8.2-fpm.sock", fpm.address).replace("/srv/app", str(app))
        code = compile(
            source.replace("max_children=8, reserve=2", "max_children=2"),
            "telemetry.md",
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        output = io.StringIO()
        with redirect_stdout(output):
            result = eval(code, names)
            if inspect.isawaitable(result):
                await result
        assert output.getvalue().splitlines() == PROMISE.findall(block)
