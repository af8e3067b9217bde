"""The processes of a running PHP-FPM, read from Linux's /proc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ("group_is_alive", "worker_pids")


@attrs.frozen
class ProcessStatus:
    """The first fields of /proc/PID/stat."""

    pid: int
    state: str
    parent: int
    group: int


def worker_pids(master: int, pool: str) -> list[int]:
    """The pids of this master's workers for this pool, in ascending order.

    A worker counts as soon as it has set its title, `php-fpm: pool NAME`.
    """
    title = f"php-fpm: pool {pool}"
    return sorted(process.pid for process in processes() if process.parent == master and title_of(process.pid) == title)


def group_is_alive(group: int) -> bool:
    """Whether a process of this group is alive; zombies do not count, because they hold no resources."""
    return any(process.group == group and process.state not in "ZX" for process in processes())


def processes() -> Iterator[ProcessStatus]:
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            text = (directory / "stat").read_text(errors="replace")
        except OSError:  # It ended after it was listed.
            continue
        # "pid (name) state parent group ..."; the name may contain anything, even parentheses and spaces.
        state, parent, group = text.rpartition(")")[2].split()[:3]
        yield ProcessStatus(int(directory.name), state, int(parent), int(group))


def title_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").strip("\0 ")
    except OSError:
        return ""
