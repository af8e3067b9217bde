"""The demo's run, drawn: a row per PHP worker, a bar per job, the queue's length underneath."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

import attrs

from fcgi_async.demo.measurement import Measurement, Run

__all__ = ("draw_timeline", "queue_lengths")

_WIDTH = 1200
_LEFT, _RIGHT = 148, 1044
_TOP = 118
_ROW, _BAR = 40, 28
_GAP = 44
_QUEUE = 120
_BOTTOM = 54
_KIB = 1024
# bars by the size of their file: class, exclusive limit, legend
_SIZES = (
    ("s1", 4 * _KIB, "under 4 KiB"),
    ("s2", 16 * _KIB, "4-16 KiB"),
    ("s3", 64 * _KIB, "16-64 KiB"),
    ("s4", math.inf, "more"),
)

# What is large stands out from the card: darker on the light one, brighter on the dark one.
_STYLE = """
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1d2433}
.title{font-size:21px;font-weight:600}.muted{fill:#667085}.small{font-size:12px}.end{text-anchor:end}.mid{text-anchor:middle}
.card{fill:#fcfcfd;stroke:#e4e7ec}.lane{fill:#f2f4f7}.grid{stroke:#e4e7ec}.axis{stroke:#98a2b3}
.s1{fill:#a9c4f5}.s2{fill:#6b9bea}.s3{fill:#2f66cc}.s4{fill:#16357c}
.area{fill:#e8833a;fill-opacity:.2}.line{fill:none;stroke:#d9661b;stroke-width:1.5;stroke-linejoin:round}.dot{fill:#d9661b}
@media(prefers-color-scheme:dark){text{fill:#e6e9f0}.muted{fill:#98a2b3}
.card{fill:#12161f;stroke:#2a3140}.lane{fill:#1a202c}.grid{stroke:#2a3140}.axis{stroke:#667085}
.s1{fill:#3a5fae}.s2{fill:#5a8ae6}.s3{fill:#93b8f8}.s4{fill:#dbe7ff}
.area{fill:#f2a062}.line{stroke:#f2a062}.dot{fill:#f2a062}}
""".replace("\n", "")


def draw_timeline(run: Run, title: str) -> str:
    """Draw a run as an SVG that needs nothing else, and is legible on light and on dark.

    Args:
        run: what happened.
        title: what was worked on.
    """
    return "".join(_Drawing(run, title).parts())


def queue_lengths(jobs: Sequence[Measurement]) -> list[tuple[float, int]]:
    """Return how many jobs waited, as (time, from then on how many), in the order of the times."""
    changes = sorted([(job.submitted, 1) for job in jobs] + [(job.accepted, -1) for job in jobs])
    lengths: list[tuple[float, int]] = []
    length = 0
    for moment, change in changes:
        length += change
        lengths.append((moment, max(0, length)))
    return lengths


@attrs.frozen
class _Drawing:
    """One run on its card."""

    run: Run
    title: str

    @property
    def _queue_end(self) -> int:
        return _TOP + _ROW * len(self.run.by_worker()) + _GAP + _QUEUE

    def parts(self) -> Iterator[str]:
        """Return the SVG in pieces."""
        height = self._queue_end + _BOTTOM
        label = escape(f"{self._headline()}: {self._summary()}")
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-label="{label}"><style>{_STYLE}</style>\n'
            f'<rect class="card" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="12"/>\n'
        )
        yield from self._header()
        yield from self._time_axis()
        for row, (pid, jobs) in enumerate(self.run.by_worker().items()):
            yield from self._worker(_TOP + _ROW * row, pid, jobs)
        yield from self._queue()
        yield "</svg>\n"

    def _headline(self) -> str:
        return f"{_number(len(self.run.jobs), 'PHP job')} on {_number(len(self.run.by_worker()), 'worker')}"

    def _summary(self) -> str:
        size = sum(job.count.bytes for job in self.run.jobs)
        return f"{self.title}, {_size(size)}, in {self.run.seconds:.2f} s: {self.run.rate:,.0f} jobs/s"

    def _header(self) -> Iterator[str]:
        yield _text(28, 42, self._headline(), "title")
        yield _text(28, 66, self._summary(), "muted")
        x = 28.0
        yield _text(x, 94, "a bar per job, by the size of its file:", "small muted")
        x += 226
        for name, _, legend in _SIZES:
            yield f'<rect class="{name}" x="{x:g}" y="84" width="12" height="12" rx="3"/>\n'
            yield _text(x + 18, 94, legend, "small muted")
            x += 32 + 7 * len(legend)

    def _time_axis(self) -> Iterator[str]:
        seconds = self.run.seconds
        factor, unit = (1, "s") if seconds >= 2 else (1000, "ms")
        for tick in _ticks(seconds * factor, 9):
            x = self._x(self.run.started + tick / factor)
            yield f'<path class="grid" d="M{x:.1f} {_TOP - 6}V{self._queue_end}"/>\n'
            yield _text(x, self._queue_end + 22, f"{tick:,g} {unit}", "small muted mid")

    def _worker(self, y: int, pid: int, jobs: Sequence[Measurement]) -> Iterator[str]:
        middle = y + _ROW // 2 + 4
        busy = sum(job.duration for job in jobs) / self.run.seconds
        yield _text(_LEFT - 14, middle, f"worker {pid}", "end")
        yield _text(_RIGHT + 14, middle, f"{_number(len(jobs), 'job')}, {busy:.0%} busy", "small muted")
        top = y + (_ROW - _BAR) // 2
        yield f'<rect class="lane" x="{_LEFT}" y="{top}" width="{_RIGHT - _LEFT}" height="{_BAR}" rx="3"/>\n'
        yield '<g class="worker">\n'
        for job in jobs:
            left, right = self._x(job.started), self._x(job.ended)
            # neighbours stay apart; what is too short to be seen is drawn all the same
            width = max(0.4, (right - left) * 0.9)
            name = next(name for name, limit, _ in _SIZES if job.count.bytes < limit)
            what = escape(f"{job.name}: {_size(job.count.bytes)}, {job.duration * 1e3:.1f} ms", quote=False)
            yield (
                f'<rect class="{name}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}">'
                f"<title>{what}</title></rect>\n"
            )
        yield "</g>\n"

    def _queue(self) -> Iterator[str]:
        base = self._queue_end
        columns = self._queue_columns()
        peak = max(columns)
        ticks = _ticks(max(peak, 1), min(3, max(peak, 1)))
        scale = _QUEUE / max(peak, ticks[-1], 1)
        yield _text(_LEFT - 14, base - _QUEUE + 4, "jobs waiting", "end")
        for tick in ticks:
            y = base - tick * scale
            yield f'<path class="{"grid" if tick else "axis"}" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>\n'
            # the topmost would stand where the panel's name does
            if y > base - _QUEUE + 16:
                yield _text(_LEFT - 14, y + 4, f"{tick:,g}", "small muted end")
        steps = "".join(f"V{base - length * scale:.1f}H{_LEFT + column + 1}" for column, length in _changes(columns))
        yield f'<path class="area" d="M{_LEFT} {base}{steps}V{base}Z"/>\n'
        yield f'<path class="line" d="M{_LEFT} {base}{steps}"/>\n'
        x, y = _LEFT + columns.index(peak) + 0.5, base - peak * scale
        yield f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>\n'
        far_right = x > _RIGHT - 100
        yield _text(x - 10 if far_right else x + 10, y - 6, f"at most {peak:,}", "small end" if far_right else "small")

    def _queue_columns(self) -> list[int]:
        """The longest that the queue was within each pixel's width."""
        columns = [0] * (_RIGHT - _LEFT)
        length, column = 0, 0
        for moment, after in queue_lengths(self.run.jobs):
            reached = min(len(columns) - 1, max(0, int(self._x(moment) - _LEFT)))
            for passed in range(column + 1, reached + 1):
                columns[passed] = length
            column, length = reached, after
            columns[column] = max(columns[column], length)
        return columns

    def _x(self, moment: float) -> float:
        share = (moment - self.run.started) / self.run.seconds
        return _LEFT + (_RIGHT - _LEFT) * min(1.0, max(0.0, share))


def _changes(columns: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The last column of each stretch of equal lengths, and that length."""
    for column, length in enumerate(columns):
        if column + 1 == len(columns) or columns[column + 1] != length:
            yield column, length


def _ticks(limit: float, about: int) -> list[float]:
    """Round numbers from 0 to `limit`, `about` as many as said."""
    rough = limit / about
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [round(step * number, 9) for number in range(int(limit / step + 1e-9) + 1)]


def _text(x: float, y: float, content: str, classes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}">{escape(content, quote=False)}</text>\n'


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _size(size: int) -> str:
    for unit, limit in (("B", _KIB), ("KiB", _KIB**2)):
        if size < limit:
            return f"{size * _KIB / limit:.{0 if unit == 'B' else 1}f} {unit}"
    return f"{size / _KIB**2:.1f} MiB"
