"""The programs that the contenders need: whether they are installed, which version, and Go's compiler."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ("build_go", "find_program", "machine")

# what prints each program's version
VERSION_COMMANDS = {
    "php": ("php", "-n", "-v"),
    "nginx": ("nginx", "-v"),
    "go": ("go", "version"),
    "wrk": ("wrk", "-v"),
}
PACKAGES = ("uvloop", "trio", "anyio", "aiohttp", "httpx")


def find_program(name: str) -> str | None:
    """Return the path of a program, of those that only root's PATH has as well."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def program_version(name: str) -> str | None:
    """Return the version of a program, None where it is not installed."""
    path = find_program(name)
    if path is None:
        return None
    done = subprocess.run([path, *VERSION_COMMANDS[name][1:]], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def machine() -> Mapping[str, str | None]:
    """Return what the figures depend on; nothing that names this machine."""
    found: dict[str, str | None] = {
        "CPU": cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": re.sub(r"^(\d+\.\d+).*", r"\1", platform.release()),
        "load when begun": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
    }
    found |= {package: package_version(package) for package in PACKAGES}
    names = {"php": "PHP", "nginx": "nginx", "go": "Go", "wrk": "wrk"}
    return found | {title: program_version(name) for name, title in names.items()}


def build_go(source: Path, program: Path) -> None:
    """Compile one file of Go that needs nothing but the standard library."""
    environment = os.environ | {"GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": str(program.parent / "go-cache")}
    subprocess.run(["go", "build", "-o", program, source], check=True, env=environment)
