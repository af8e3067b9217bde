"""Code of the documentation, run within the test."""

from __future__ import annotations

import ast
import inspect
import io
from contextlib import redirect_stdout

__all__ = ("run",)


async def run(source: str, names: dict[str, object], *, file: str, line: int = 1) -> str:
    """Run code, which may await, and return what it printed; `names` is what it finds and what it leaves."""
    code = compile("\n" * (line - 1) + source, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    output = io.StringIO()
    with redirect_stdout(output):
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result
    return output.getvalue()
