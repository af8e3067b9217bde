"""The demo: PHP's counts are Python's, and the timeline has a bar for each job."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import attrs
import pytest

from fcgi_async.commands import demo
from fcgi_async.demo.measurement import Measurement, Run, percentile
from fcgi_async.demo.sources import Count, Totals, count, find_sources, standard_library
from fcgi_async.demo.timeline import draw_timeline, queue_lengths
from tests.cli.conftest import RunCommand

SVG = "{http://www.w3.org/2000/svg}"


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


def bars(svg: str) -> list[ElementTree.Element]:
    """The bars of all workers."""
    return ElementTree.fromstring(svg).findall(f"{SVG}g[@class='worker']/{SVG}rect")


def test_demo_end_to_end(command: RunCommand, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every file is a job, PHP counts what Python counts, and the run is drawn."""
    drawing = tmp_path_factory.mktemp("drawing") / "run.svg"
    result = command("demo", "--directory", tree, "--timeline", drawing)
    report = result.out.decode()
    assert result.code == 0
    assert "PHP's totals and Python's own agree" in report
    assert ["files", "5"] in [line.split() for line in report.splitlines()]
    size = sum(source.path.stat().st_size for source in find_sources(tree))
    assert ["bytes", f"{size:,}"] in [line.split() for line in report.splitlines()]
    assert "queue time p99" in report
    titles = {bar.findtext(f"{SVG}title", "").partition(":")[0] for bar in bars(drawing.read_text())}
    assert titles == {"empty.py", "unended.py", "lines.py", "bytes.py", "package/module <&>.py"}


def test_demo_shows_plain_progress(command: RunCommand, tree: Path) -> None:
    """Without a terminal progress is a line now and then, on standard error."""
    lines = command("demo", "--directory", tree).err.splitlines()
    assert lines[-1] == "5 of 5 files, 0 queued"
    assert all("\x1b" not in line and "\r" not in line for line in lines)


def test_difference_is_exit_code_1(command: RunCommand, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PHP counts something else than Python, both are shown, and the demo fails."""
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


def test_standard_library_is_the_running_pythons() -> None:
    """The demo's input has the modules that this Python imports, and none that were installed."""
    names = {source.name for source in find_sources(standard_library())}
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
    named = [("b.py", count(b"1")), ("a.py", count(b"2"))]
    assert Totals.of(named) == Totals.of(reversed(named))
    assert Totals.of(named).sha256 != Totals.of([("b.py", count(b"2")), ("a.py", count(b"1"))]).sha256


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentile(share: float, value: int) -> None:
    """A percentile is by nearest rank."""
    assert percentile(list(range(100, 0, -1)), share) == value


def measured(pid: int, submitted: float, queued: float, started: float, ended: float, size: int = 1) -> Measurement:
    """A job with these times."""
    return Measurement("a.py", Count(size, 1, 1, ""), 1, pid, submitted, queued, started, ended)


def test_queue_lengths() -> None:
    """A job waits from when it was handed in until a worker took it."""
    jobs = [measured(1, 0.0, 1.0, 1.0, 2.0), measured(1, 0.5, 1.5, 2.0, 3.0)]
    assert queue_lengths(jobs) == [(0.0, 1), (0.5, 2), (1.0, 1), (2.0, 0)]


def test_bars_stand_where_the_jobs_were() -> None:
    """Bars are in the row of their worker, from start to end, on one scale."""
    run = Run([measured(7, 0, 0, 10.0, 11.0), measured(8, 0, 0, 12.0, 13.0), measured(8, 0, 0, 14.0, 20.0)], 10.0, 20.0)
    first, second, third = (
        (float(bar.attrib["x"]), float(bar.attrib["width"]), bar.attrib["y"])
        for bar in bars(draw_timeline(run, "test"))
    )
    assert first[2] != second[2] == third[2]
    assert (second[0] - first[0]) * 2 == pytest.approx(third[0] - first[0], abs=0.5)
    assert second[1] * 6 == pytest.approx(third[1], abs=0.5)
    assert third[0] + third[1] < 1200


def test_bars_tell_the_size_of_the_file() -> None:
    """Small, middling, large and very large files have bars of their own look, as the legend says."""
    sizes = [0, 4095, 4096, 16 * 1024, 64 * 1024, 10_000_000]
    run = Run([measured(1, 0, 0, n, n + 1, size) for n, size in enumerate(sizes)], 0.0, 6.0)
    assert [bar.attrib["class"] for bar in bars(draw_timeline(run, "test"))] == ["s1", "s1", "s2", "s3", "s4", "s4"]


@pytest.mark.parametrize("seconds", [0.0001, 0.5, 3.0, 4000.0])
def test_timeline_has_an_axis_of_any_length(seconds: float) -> None:
    """A run of a blink and one of an hour have a handful of labelled ticks, from 0 on."""
    svg = draw_timeline(Run([measured(1, 0.0, 0.0, 0.0, seconds)], 0.0, seconds), "<title> & more")
    texts = [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    ticks = [text for text in texts if text.endswith((" ms", " s")) and text[0].isdigit()]
    assert ticks[0] in ("0 ms", "0 s")
    assert 4 <= len(ticks) <= 11
    assert any("<title> & more" in text for text in texts)
