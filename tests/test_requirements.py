"""Everything that the package imports is a requirement of its own, or of one of its extras."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import fcgi_async

PACKAGE = Path(fcgi_async.__file__).parent
PROJECT = PACKAGE.parent / "pyproject.toml"
OURS = {PACKAGE.name, f"pytest_{PACKAGE.name}"}


def imported(node: ast.AST) -> Iterator[str]:
    """The top modules of all absolute imports, without those for type checkers only."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module is not None:
        yield node.module.partition(".")[0]
    elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from imported(child)


@functools.cache
def owners() -> dict[str, list[str]]:
    """The distributions that each top module is of."""
    return dict(packages_distributions())


@functools.cache
def required() -> set[str]:
    """The names of all requirements, extras included."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}


def normal(name: str) -> str:
    """The name of a distribution in its normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def undeclared(source: str) -> set[str]:
    """The imported modules that are of no requirement."""
    others = {*imported(ast.parse(source))} - sys.stdlib_module_names - OURS
    return {module for module in others if not {normal(name) for name in owners().get(module, ())} & required()}


def test_every_import_is_required() -> None:
    """What comes only with another package may be gone with its next release, as sniffio was with anyio's."""
    found = {str(path.relative_to(PACKAGE)): undeclared(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert {path: modules for path, modules in found.items() if modules} == {}


def test_an_undeclared_import_is_found() -> None:
    """Within a function too."""
    assert undeclared("def f():\n    import sniffio, anyio, trio\nfrom . import a\nimport os") == {"sniffio"}
