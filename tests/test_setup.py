"""What sets a checkout up: the Makefile's targets and what they install."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# fails with the next line of the file `answers`, or succeeds when that is empty
APT_GET = """\
#!/bin/sh
echo "$4" >>"$HERE/calls"
said=$(sed -n "$(wc -l <"$HERE/calls")p" "$HERE/answers")
[ -z "$said" ] || { echo "$said" >&2; exit 100; }
"""
LISTS = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
ARCHIVES = "E: Unable to lock directory /var/cache/apt/archives/"
DPKG = "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?"
UNKNOWN = "E: Unable to locate package socat"


def install(directory: Path, answers: list[str], *, seconds: int = 600) -> tuple[int, list[str], str]:
    """Install a package with an apt-get that gives these answers; return the code, what was called, and stderr."""
    for name, text in (("apt-get", APT_GET), ("sleep", "#!/bin/sh\n")):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    (directory / "answers").write_text("".join(f"{answer}\n" for answer in answers))
    calls = directory / "calls"
    calls.touch()
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", "root=env; . .ci/apt.sh; apt_install socat"],
        cwd=ROOT,
        env=os.environ
        | {"PATH": f"{directory}:{os.environ['PATH']}", "HERE": str(directory), "APT_SECONDS": str(seconds)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # -qq -o DPkg::Lock::Timeout=600 COMMAND
    return done.returncode, calls.read_text().split(), done.stderr


@pytest.mark.parametrize("said", [ARCHIVES, DPKG])
def test_installing_waits_for_locks(tmp_path: Path, said: str) -> None:
    """An apt that another one keeps out is called again, without new lists."""
    code, calls, stderr = install(tmp_path, [said, said, ""])
    assert (code, calls) == (0, ["install"] * 3)
    assert "another apt is at work" in stderr


def test_the_lists_wait_for_their_lock(tmp_path: Path) -> None:
    """So is one that is to fetch the lists; dpkg's option does not cover their lock."""
    code, calls, _ = install(tmp_path, [UNKNOWN, LISTS, LISTS, "", ""])
    assert (code, calls) == (0, ["install", "update", "update", "update", "install"])


def test_another_failure_is_no_lock(tmp_path: Path) -> None:
    """A package that is not known is looked for in new lists once, and then what apt-get says is shown."""
    code, calls, stderr = install(tmp_path, [UNKNOWN, "", UNKNOWN])
    assert (code, calls) == (1, ["install", "update", "install"])
    assert stderr == f"{UNKNOWN}\n"


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """A lock that stays is an error at last."""
    code, calls, stderr = install(tmp_path, [LISTS] * 9, seconds=0)
    assert (code, calls) == (1, ["install", "update"])
    assert stderr == f"{LISTS}\n"


def make(*arguments: str) -> list[str]:
    """Return the lines that make prints, by itself and not within another make."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.splitlines()


def test_help_has_every_target() -> None:
    """Every target that is called by name has its line, and no other has."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert {line.split()[0] for line in make("help")} == set(phony[1].split())
    assert all(len(line.split()) > 2 for line in make("help"))


@pytest.mark.parametrize(("target", "has_tests"), [("demo", False), ("test", True), ("lint", True), ("docs", True)])
def test_the_demo_installs_no_tests(target: str, has_tests: bool, tmp_path: Path) -> None:
    """On a fresh machine the demo gets the package and what that needs; the others get their tools too."""
    venv = tmp_path / "venv"
    commands = make("--dry-run", target, f"VENV={venv}")
    assert commands[0] == f".ci/setup {venv}"
    assert (f".ci/setup {venv} dev" in commands) is has_tests
