"""What the tests have to know of an application, and its state after the installation."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from tests.apps.compare import Answer
from tests.apps.database import Database
from tests.apps.noise import Noise
from tests.apps.visitor import Visitor

__all__ = ("Application",)


class Application(ABC):
    """One application.

    Args:
        folder: an empty one, for everything that it has.
        database: for those that want one; it is named as the application.

    Attributes:
        name: what it is called; its host is `name.test`.
        front: its front controller.
        start: request targets from which everything else is found.
        avoid: targets that are not followed, because they change something or never answer the same.
        noise: what differs from one request to the next, whoever passes it on.
        changing: files and folders under `folder` that its users change.
        uses_database: whether it has one.
        files: how many files of it are compared in a walk.
    """

    name: ClassVar[str]
    front: ClassVar[str] = "index.php"
    start: ClassVar[tuple[str, ...]] = ("/",)
    avoid: ClassVar[re.Pattern[str]] = re.compile(r"(?!)")
    noise: ClassVar[tuple[Noise, ...]] = ()
    changing: ClassVar[tuple[str, ...]] = ()
    uses_database: ClassVar[bool] = False
    files: ClassVar[int] = 20

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = folder
        self.database = database

    @property
    def root(self) -> Path:
        """Its document root."""
        return self.folder / "root"

    @property
    def url(self) -> str:
        """Its address, as visitors know it."""
        return f"http://{self.name}.test"

    def begin(self) -> tuple[str, ...]:
        """Where a walk begins."""
        return self.start

    @abstractmethod
    def prepare(self) -> None:
        """Write its files, so that it can be served."""

    def install(self, client: Visitor) -> None:  # noqa: B027 - some need nothing more
        """Install it, while it is served, and write something to read."""

    def log_in(self, client: Visitor) -> None:  # noqa: B027 - some have no users
        """Have the client be a user, who may do everything."""

    @abstractmethod
    def session(self, client: Visitor) -> Iterator[Answer]:
        """Do what a user does, from logging in to logging out, and tell what was answered."""

    def keep(self) -> None:
        """Store its state, for `restore()`."""
        kept = self.folder / "kept"
        kept.mkdir()
        for number, path in enumerate(self.changing):
            _copy(self.folder / path, kept / str(number))
        if self.uses_database:
            (kept / "dump").write_bytes(self.database.dump(self.name))

    def restore(self) -> None:
        """Have it be as it was at `keep()`."""
        for number, path in enumerate(self.changing):
            _remove(self.folder / path)
            _copy(self.folder / "kept" / str(number), self.folder / path)
        if self.uses_database:
            self.database.load(self.name, (self.folder / "kept" / "dump").read_bytes())

    def take(self, source: Path, *, but: Callable[[str, list[str]], Iterable[str]] | None = None) -> None:
        """Copy the files of a package into the document root; links in it lead to where they led."""
        shutil.copytree(source, self.root, symlinks=True, ignore=but)
        for folder, folders, files in os.walk(self.root):
            for name in (*folders, *files):
                link = Path(folder, name)
                if link.is_symlink() and not os.readlink(link).startswith("/"):
                    original = source / link.relative_to(self.root)
                    link.unlink()
                    link.symlink_to(original.resolve())

    def php(self, *arguments: str) -> str:
        """Run PHP on the command line in its document root; return what it prints."""
        done = subprocess.run(
            ["php", *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
