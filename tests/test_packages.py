"""The wheel and the source distribution: what is in them, what PyPI would say of them, and that they work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import attrs
import pytest
from packaging.requirements import Requirement

from tests.docs.blocks import ROOT, blocks

README = ROOT / "README.md"
LINK = re.compile(r"\]\(([^)]*)\)")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]


@attrs.frozen
class Built:
    """What `python -m build` makes: the wheel is built from the unpacked source distribution."""

    sdist: Path
    wheel: Path

    @property
    def metadata(self) -> Message:
        """What the wheel says of itself."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return Parser().parsestr(archive.read(name).decode())


def run(*command: object, cwd: Path = ROOT) -> str:
    """Run a command that finds no checkout by its environment, and return what it prints."""
    arguments = [str(part) for part in command]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(*names: str) -> set[str]:
    """The files that a checkout has under these names, without what Python and tools leave behind."""
    found = [
        path for name in names for path in ([ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"))
    ]
    return {
        path.relative_to(ROOT).as_posix()
        for path in found
        if path.is_file() and not any(part.startswith(("__pycache__", ".hypothesis", ".mypy")) for part in path.parts)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both, built offline with what is installed."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


def test_pypi_would_take_them(built: Built) -> None:
    """Metadata are valid, and the long description can be rendered."""
    run(sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel)


def test_classifiers(built: Built) -> None:
    """They say what it is for and on what it runs; each Python that it is tested on is there."""
    classifiers = built.metadata.get_all("Classifier") or []
    assert {"Typing :: Typed", "Framework :: AsyncIO", "Operating System :: POSIX :: Linux"} <= set(classifiers)
    assert "Programming Language :: Python :: 3.11" in classifiers


def test_the_long_description_leads_nowhere_else(built: Built) -> None:
    """It is the README, without links that only a checkout has."""
    text = str(built.metadata.get_payload())
    assert README.read_text().splitlines()[0] in text
    assert [link for link in LINK.findall(text) if not link.startswith("https://")] == []
    assert [link for link in LINK.findall(README.read_text()) if not link.startswith("https://")] != []


def test_the_wheel_has_the_package_alone(built: Built) -> None:
    """Beside the package it has its plugin for pytest; no tests, no documentation, not what draws the demo."""
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    plugin = "fcgi_async/testing/pytest_fcgi_async.py"
    assert names == files("fcgi_async") - {plugin} | {Path(plugin).name}
    needed = {Requirement(text).name for text in required(built)}
    assert needed == {"anyio", "attrs"}


def test_the_source_distribution_is_whole(built: Built, tmp_path: Path) -> None:
    """It has all that is in a checkout, and the tests that are in it run."""
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files(*SETTINGS["sdist"]["include"], "LICENSE", "pyproject.toml") <= names
    options = ("-q", "-p", "no:cacheprovider")
    run(sys.executable, "-m", "pytest", *options, "tests/wire/test_records.py", "tests/test_docs.py", cwd=folder)


def required(built: Built) -> list[str]:
    """What the wheel says that it needs, without its extras."""
    return [text for text in built.metadata.get_all("Requires-Dist") or [] if "extra ==" not in text]


def install(requirements: Iterable[str], target: Path) -> None:
    """Copy packages that are installed here, with what they need in turn, as if they had come from PyPI."""
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = distribution(requirement.name)
        assert found.version in requirement.specifier
        for file in found.files or []:
            place = target / file
            if ".." not in file.parts and not place.exists() and "__pycache__" not in file.parts:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), place)
        install(found.requires or [], target)


def test_the_wheel_runs_the_first_example(built: Built, tmp_path: Path) -> None:
    """In an environment that has it and what it requires, and nothing else, it runs the README's first example."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", built.wheel)
    install(required(built), Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()))
    for block in blocks(README):
        if block.name is not None and not block.name.startswith("/"):
            (tmp_path / block.name).write_text(block.text)
        if block.language == "python" and "LocalFPM(" in block.text:
            example = block
            break
    else:
        raise AssertionError("the README has no example with LocalFPM")
    assert example.name is not None
    assert run(python, example.name, cwd=tmp_path).splitlines() != []
    assert "usage: fcgi-async" in run(python.with_name("fcgi-async"), "--help", cwd=tmp_path)
