"""Who is still alive in a process group."""

from __future__ import annotations

from pathlib import Path


def living_members(group: int) -> list[int]:
    """The pids in this process group, those that have ended and only wait to be reaped left out."""
    members = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            stat = (directory / "stat").read_text(errors="replace")
        except OSError:
            continue
        state, _parent, its_group = stat.rpartition(")")[2].split()[:3]
        if int(its_group) == group and state not in "ZX":
            members.append(int(directory.name))
    return members


def find_by_argument(argument: str) -> list[int]:
    """The pids of the processes that were started with this very argument."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            arguments = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in arguments:
            found.append(int(directory.name))
    return found
