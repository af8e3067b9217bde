"""The demo: PHP's counts are Python's, and each job's times can be drawn."""

from __future__ import annotations

import json
import re
import sysconfig
from pathlib import Path
from xml.etree import ElementTree

import attrs
import pytest

from docs import timeline
from fcgi_async.commands import demo
from fcgi_async.demo.report import percentile
from fcgi_async.demo.sources import count, find_sources, total
from tests.cli.conftest import RunCommand

NAMES = {"empty.py", "unended.py", "lines.py", "bytes.py", "package/module <&>.py"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Python files of all sorts, and some that are no part of it."""
    contents = {
        "empty.py": b"",
        "unended.py": b"one two",
        "lines.py": b"a\r\nb\n\n \t\x0b\x0c c\x1cd\n",
        "bytes.py": bytes(range(256)) * 300,
        "package/module <&>.py": "caf\xe9 = 'na\xefve'\n".encode(),
        "site-packages/other.py": b"not standard\n",
        "readme.txt": b"no Python\n",
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_demo_end_to_end(command: RunCommand, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every file is a job, PHP counts what Python counts, and what was measured of each can be drawn."""
    folder = tmp_path_factory.mktemp("measured")
    result = command("demo", "--directory", tree, "--json", folder / "jobs.json")
    report = result.out.decode()
    assert result.code == 0
    assert "PHP's totals and Python's own agree" in report
    assert ["files", "5"] in [line.split() for line in report.splitlines()]
    size = sum(path.stat().st_size for path in find_sources(tree).values())
    assert ["bytes", f"{size:,}"] in [line.split() for line in report.splitlines()]
    assert "queue time p50" in report
    assert "queue time p99" in report
    jobs = json.loads((folder / "jobs.json").read_text())
    assert {job["name"] for job in jobs} == NAMES
    assert all(0 < job["queued"] < job["ended"] and job["started"] < job["ended"] for job in jobs)
    timeline.main(str(folder / "jobs.json"), str(folder / "picture.svg"))
    assert ElementTree.parse(folder / "picture.svg").getroot().tag.endswith("}svg")


def test_demo_shows_plain_progress(command: RunCommand, tree: Path) -> None:
    """Without a terminal progress is a line now and then, on standard error."""
    lines = command("demo", "--directory", tree).err.splitlines()
    assert lines[-1] == "5 of 5 files, 0 queued"
    assert all("\x1b" not in line and "\r" not in line for line in lines)


def test_difference_is_exit_code_1(command: RunCommand, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If PHP counts something else than Python, both are shown, and the demo fails."""
    monkeypatch.setattr(demo, "count", lambda content: attrs.evolve(count(content), words=1))
    result = command("demo", "--directory", tree)
    rows = [line.split() for line in result.out.decode().splitlines()]
    assert result.code == 1
    assert ["differs", "PHP", "Python"] in rows
    assert [row for row in rows if row[:1] == ["words"]][-1][2] == "5"


def test_demo_on_a_pool_without_the_script(
    command: RunCommand, pool: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that cannot see the demo's script fails it in one line."""
    monkeypatch.setattr(demo, "_SCRIPT", Path("/nowhere.php"))
    result = command("demo", *pool)
    assert result.code == 1
    result.assert_one_line()
    assert "404" in result.err


def test_another_script_in_its_place_is_told(
    command: RunCommand, tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A script that answers something else fails the demo in one line, which shows the answer."""
    script = tmp_path_factory.mktemp("other") / "script.php"
    script.write_text("<?php echo 'hello';")
    monkeypatch.setattr(demo, "_SCRIPT", script)
    result = command("demo", "--directory", tree)
    assert result.code == 1
    result.assert_one_line()
    assert "not the demo's answer: 'hello'" in result.err


def test_the_standard_library_is_without_what_was_installed() -> None:
    """The demo's input has the modules that this Python imports, and none that were installed."""
    names = find_sources(Path(sysconfig.get_path("stdlib"))).keys()
    assert {"os.py", "json/__init__.py"} <= names
    assert not any("site-packages" in name for name in names)


@pytest.mark.parametrize(
    ("content", "lines", "words"), [(b"", 0, 0), (b"a b", 0, 2), (b"\n\n", 2, 0), (b"a\x0bb\x1cc\r\n", 1, 2)]
)
def test_count(content: bytes, lines: int, words: int) -> None:
    """A line ends with a line feed, a word with ASCII whitespace."""
    assert (count(content).lines, count(content).words) == (lines, words)


def test_totals_do_not_depend_on_the_order() -> None:
    """Jobs end in any order, and the combined hash is the same; it tells contents apart."""
    one, two = count(b"1"), count(b"2")
    assert total({"b.py": one, "a.py": two}) == total({"a.py": two, "b.py": one})
    assert total({"b.py": one, "a.py": two}).sha256 != total({"b.py": two, "a.py": one}).sha256


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile(share: float, value: int) -> None:
    """A percentile is by nearest rank."""
    assert percentile(list(range(100, 0, -1)), share) == value


def job(pid: int, queued: float, started: float, ended: float) -> timeline.Job:
    """A job with these times."""
    return {"pid": pid, "queued": queued, "started": started, "ended": ended}


def test_queue_lengths() -> None:
    """All jobs wait at first, and one less whenever one is taken."""
    assert timeline.queue_lengths([job(1, 1.5, 2, 3), job(1, 1.0, 1, 2)]) == ([0.0, 1.0, 1.5], [2, 1, 0])


def test_a_row_for_each_worker_and_a_bar_for_each_job() -> None:
    """Bars are in the row of their worker, from start to end."""
    picture = timeline.draw([job(8, 0, 12.0, 13.0), job(7, 0, 10.0, 11.0), job(8, 0, 14.0, 20.0)])
    rows = re.findall(
        rf'<path fill="{timeline.BAR}" d="(.*?)"/>\n<text.*?>(.*?)</text>\n<text.*?>(.*?)</text>', picture
    )
    assert [(name, jobs) for _, name, jobs in rows] == [("worker 7", "1 jobs"), ("worker 8", "2 jobs")]
    starts = [[float(x) for x in re.findall(r"M([\d.]+)", path)] for path, _, _ in rows]
    second = timeline.WIDTH / 20
    assert starts == [[timeline.LEFT + second * 10], [timeline.LEFT + second * 12, timeline.LEFT + second * 14]]
