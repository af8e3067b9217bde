"""The house: imports point downward, the wire knows no input or output, and every module says what it is and offers."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import pytest

import fcgi_async

PACKAGE = Path(fcgi_async.__file__).parent
NAME = PACKAGE.name
# lowest first; what is not named here is an edge, the package itself stands on top of all
LAYERS = ("spec", "values", "wire", "net", "spool", "fpm", "pool", "dispatch", "gateway")
# what is not on the floor of its own name: the numbers of the specification, and errors beside the values they carry
FLOORS = {"wire.spec": "spec", "errors": "values", "job": "values", "call": "values"}
EDGE = len(LAYERS)
TOP = EDGE + 1

# standard modules that compute and do nothing else, and attrs
PURE = {
    "__future__",
    "attrs",
    "collections",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "math",
    "re",
    "struct",
    "typing",
}
# modules that perform nothing, and what of the package they may stand on
PURE_MODULES = {"wire": {"errors", "wire"}, "pool.slots": {"errors"}}


@attrs.frozen
class Import:
    """One imported module, as the importing module means it."""

    module: str
    line: int
    type_checking: bool


def module_name(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(source: str, module: str, *, package: bool = False) -> list[Import]:
    """Every import in a source, wherever it stands; a name imported from a package may be a module of it."""
    return list(_imports(ast.parse(source), module if package else module.rpartition(".")[0], False))


def _imports(node: ast.AST, package: str, type_checking: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, type_checking) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            ancestor = package.rsplit(".", node.level - 1)[0]
            base = f"{ancestor}.{base}" if base else ancestor
        inside = base == NAME
        for alias in node.names:
            is_module = inside and any((PACKAGE / f"{alias.name}{end}").exists() for end in (".py", "/__init__.py"))
            yield Import(f"{base}.{alias.name}" if is_module else base, node.lineno, type_checking)
    elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        for statement in node.body:
            yield from _imports(statement, package, True)
        for statement in node.orelse:
            yield from _imports(statement, package, type_checking)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, package, type_checking)


def layer(module: str) -> int | None:
    """How high a module of the package stands; None for modules of others."""
    name, *rest = module.split(".")
    if name != NAME:
        return None
    if not rest:
        return TOP
    floor = FLOORS.get(".".join(rest[:2])) or FLOORS.get(rest[0], rest[0])
    return LAYERS.index(floor) if floor in LAYERS else EDGE


def upward_imports(source: str, module: str, *, package: bool = False) -> list[str]:
    """The imports that point upward."""
    own = layer(module)
    assert own is not None
    return [
        f"{module}:{found.line} imports {found.module}"
        for found in imports(source, module, package=package)
        if (layer(found.module) or 0) > own
    ]


def impure_imports(source: str, module: str, own: set[str], *, package: bool = False) -> list[str]:
    """The imports of a pure module that are not on its list."""
    allowed = {f"{NAME}.{part}" for part in own}
    return [
        f"{module}:{found.line} imports {found.module}"
        for found in imports(source, module, package=package)
        if found.module.split(".")[0] not in PURE and ".".join(found.module.split(".")[:2]) not in allowed
    ]


def public_names(tree: ast.Module) -> set[str]:
    """What a module defines under a name without an underscore."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def exports(tree: ast.Module) -> list[str] | None:
    """The names in `__all__`, or None where there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def imported_names(sources: Iterable[str]) -> dict[str, set[str]]:
    """What modules take from modules of the package, by module."""
    names: dict[str, set[str]] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(NAME):
                names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    return names


def export_faults(source: str, imported: set[str]) -> list[str]:
    """What is wrong with the `__all__` of a module from which others take the names `imported`."""
    tree = ast.parse(source)
    listed = exports(tree)
    if listed is None:
        return ["__all__ is missing"]
    defined = public_names(tree)
    faults = [f"{name} is taken by others and not in __all__" for name in sorted((imported & defined) - set(listed))]
    faults += [f"{name} is taken by others and private" for name in sorted(imported) if name.startswith("_")]
    faults += [f"{name} is in __all__ and not defined" for name in sorted(set(listed) - defined)]
    if len(set(listed)) < len(listed):
        faults.append("__all__ names something twice")
    if listed != sorted(listed, key=_order):
        faults.append("__all__ is not sorted: constants, classes, functions")
    return faults


def _order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
# the command line's own module offers nothing to import, and modules with an underscore offer it to their neighbours
OFFERING = [module for module, path in FILES.items() if not path.stem.startswith("_") and module != f"{NAME}.cli"]
every_module = pytest.mark.parametrize("module", FILES)


@functools.cache
def imported_anywhere() -> dict[str, set[str]]:
    """What the modules of the package take from each other."""
    return imported_names(path.read_text() for path in FILES.values())


@every_module
def test_imports_point_downward(module: str) -> None:
    """A layer knows those below it, and none above."""
    path = FILES[module]
    assert upward_imports(path.read_text(), module, package=path.stem == "__init__") == []


@pytest.mark.parametrize("pure", PURE_MODULES)
def test_pure_modules_perform_nothing(pure: str) -> None:
    """The wire and the ledger of slots import only what computes: no I/O, no clock, no event loop, no sockets."""
    name = f"{NAME}.{pure}"
    modules = [module for module in FILES if module == name or module.startswith(f"{name}.")]
    assert modules
    for module in modules:
        path = FILES[module]
        assert impure_imports(path.read_text(), module, PURE_MODULES[pure], package=path.stem == "__init__") == []


@every_module
def test_module_has_a_docstring(module: str) -> None:
    """Every module says in its first line what it is."""
    assert ast.get_docstring(ast.parse(FILES[module].read_text()))


@pytest.mark.parametrize("module", OFFERING)
def test_module_lists_what_it_offers(module: str) -> None:
    """`__all__` has every name that other modules take, once, in order, and none that is not there."""
    assert export_faults(FILES[module].read_text(), imported_anywhere().get(module, set())) == []


def test_telemetry_is_imported_by_nobody() -> None:
    """What the extras bring is imported by the folder that needs it, and that by nobody: it costs who asks for it.

    But for the commands that serve metrics, when they do.
    """
    telemetry, commands = f"{NAME}.telemetry", {f"{NAME}.commands.{name}" for name in ("exporter", "gateway")}
    extras = ("opentelemetry", "prometheus_client")
    found = {
        module: [found.module for found in imports(path.read_text(), module, package=path.stem == "__init__")]
        for module, path in FILES.items()
    }
    users = {module for module, names in found.items() if any(name.startswith((telemetry, *extras)) for name in names)}
    assert users
    assert {module for module in users if not module.startswith(telemetry)} == commands


def test_importing_the_package_loads_no_extra() -> None:
    """Neither OpenTelemetry nor prometheus_client is loaded with the package, though both are installed."""
    source = f"import sys, {NAME}.cli, {NAME}.testing; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.split()
    assert NAME in loaded
    assert {"opentelemetry", "prometheus_client"}.isdisjoint(loaded)


def test_layers_exist() -> None:
    """A layer that was renamed would no longer be checked."""
    names = [*FLOORS, *(set(LAYERS) - set(FLOORS.values()))]
    paths = [PACKAGE / name.replace(".", "/") for name in names]
    assert [path for path in paths if not path.is_dir() and not path.with_suffix(".py").is_file()] == []


# that these tests can fail


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fcgi_async.errors", "import fcgi_async.wire.client"),
        ("fcgi_async.wire.client", "from fcgi_async.net.dial import dial"),
        ("fcgi_async.wire.client", "from fcgi_async import net"),
        ("fcgi_async.wire.client", "from ..net import dial"),
        ("fcgi_async.wire.client", "from fcgi_async import Dispatcher"),
        ("fcgi_async.wire.client", "if TYPE_CHECKING:\n    from fcgi_async.net.dial import dial"),
        ("fcgi_async.wire.spec", "import fcgi_async.errors"),
        ("fcgi_async.net.dial", "def late():\n    import fcgi_async.pool.pool"),
        ("fcgi_async.job.job", "from fcgi_async.cli import main"),
        ("fcgi_async.cli", "import fcgi_async"),
    ],
)
def test_upward_import_is_found(module: str, source: str) -> None:
    """An import that points upward is found, however it is written."""
    assert len(upward_imports(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fcgi_async.errors", "if TYPE_CHECKING:\n    from fcgi_async.job.job import Job"),
        ("fcgi_async.wire.client", "from . import spec\nfrom .spec import Role\nfrom fcgi_async import errors"),
        ("fcgi_async.cli", "import json, asyncio\nimport fcgi_async.job.job"),
    ],
)
def test_downward_import_is_allowed(module: str, source: str) -> None:
    """Imports of the same layer, of those below and of others are no fault."""
    assert upward_imports(source, module) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import os.path",
        "from time import monotonic",
        "import anyio.abc",
        "import anything_new",
        "def late():\n    import ssl",
        "from fcgi_async.net.dial import dial",
        "from fcgi_async import fpm",
        "from .. import pool",
    ],
)
def test_impure_import_is_found(source: str) -> None:
    """Whatever is not on the list is refused, whether it was thought of or not."""
    assert len(impure_imports(source, "fcgi_async.wire.client", PURE_MODULES["wire"])) == 1


def test_names_of_ones_own_need_not_be_listed() -> None:
    """What no other module takes may stand without an underscore and unlisted."""
    assert export_faults("__all__ = ()\nLIMIT = 1\ndef run(): ...", set()) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def run(): ...", "__all__ is missing"),
        ("__all__ = ()\nclass Job: ...", "Job is taken by others and not in __all__"),
        ("__all__ = ('gone',)", "gone is in __all__ and not defined"),
        ("__all__ = ('a', 'a')\na = 1", "__all__ names something twice"),
        ("__all__ = ('b', 'A')\nb = A = 1", "__all__ is not sorted: constants, classes, functions"),
    ],
)
def test_wrong_exports_are_found(source: str, fault: str) -> None:
    """Each way in which `__all__` can be wrong is found."""
    assert export_faults(source, {"Job"}) == [fault]


def test_taking_a_private_name_is_found() -> None:
    """A name with an underscore is its module's own."""
    assert export_faults("__all__ = ()\n_own = 1", {"_own"}) == ["_own is taken by others and private"]
