"""The example of docs/testing.md, run as a project of its own with the plugin."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "testing.md"


def test_example_runs(tmp_path: Path) -> None:
    """Its conftest.py and its tests pass as they stand."""
    conftest, example = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_shop.py").write_text(
        example + "\n\ndef test_fpm(local_fpm):\n    assert local_fpm.max_children == 4\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
