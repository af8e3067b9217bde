"""The house: no module imports itself by way of others, and no file is more than one thing can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_architecture import FILES, NAME, imports

# what is more is two things; see what the file is really two of
LINES_MAX = 400
# circles that only type checkers see: errors carry values, which raise errors; what writes a job, and the page and
# the intake of a client, name its type
VALUES = {f"{NAME}.{module}" for module in ("errors", "job.written", "jobs.errors", "jobs.page", "jobs.intake.http")}


def graph() -> dict[str, set[str]]:
    """Which modules of the package each of them imports, wherever the import stands."""
    return {
        module: {
            found.module
            for found in imports(path.read_text(), module, package=path.stem == "__init__")
            if found.module in FILES and not (module in VALUES and found.type_checking)
        }
        for module, path in FILES.items()
    }


def circle(modules: dict[str, set[str]]) -> list[str]:
    """Return modules of which each imports the next, and the last one the first; nothing if there are none."""
    done: set[str] = set()

    def search(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for imported in sorted(modules[module]):
            found = search(imported, [*way, module])
            if found:
                return found
        done.add(module)
        return []

    return next((found for module in sorted(modules) if (found := search(module, []))), [])


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Imports go one way, between modules of one layer too."""
    assert circle(graph()) == []


def test_a_circle_is_found() -> None:
    """However long it is, and wherever it is entered."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]


@pytest.mark.parametrize("module", FILES)
def test_no_file_is_too_long(module: str) -> None:
    """A file answers one question."""
    assert len(FILES[module].read_text().splitlines()) <= LINES_MAX


def test_the_top_level_is_short() -> None:
    """Beside what was made here, it has what a reader expects there, and nothing else."""
    root = Path(__file__).parent.parent
    found = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    known = "CHANGELOG.md LICENSE Makefile README.md benchmarks compose.yaml docs fcgi_async pyproject.toml tests"
    assert found - set("PKG-INFO build dist htmlcov".split()) == set(known.split())
