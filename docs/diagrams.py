"""Draws the layers, from the imports of the code, a job's way, and the life of a slot, from its transitions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from html import escape
from math import atan2, degrees, hypot, inf
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.pool.slots import SLOT_TRANSITIONS

__all__ = ("JOB", "Module", "SlotBecomes", "Step", "draw_job", "draw_layers", "draw_slot", "find_modules")

NAME: Final = "fcgi_async"
PACKAGE: Final = Path(__file__).parent.parent / NAME

# painted on a panel of their own, so that they can be read wherever they are shown
STYLE: Final = """<style>
  .panel { fill: #ffffff; stroke: #d0d7de }
  .box { fill: #f6f8fa; stroke: #afb8c1 }
  .chip { fill: #ffffff; stroke: #d0d7de }
  .line { stroke: #57606a; fill: none }
  .faint { stroke: #afb8c1; fill: none }
  .wire { stroke: #0969da; fill: none }
  .tip { fill: #57606a } .faint-tip { fill: #afb8c1 } .wire-tip { fill: #0969da }
  text { fill: #1f2328; font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
  .title { font-weight: 600; font-size: 15px } .small { font-size: 12px } .quiet { fill: #57606a }
  .code { font: 12px ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace }
  .bytes { fill: #0969da }
  .connecting { fill: #ffd8a8 } .idle { fill: #d0ebff } .busy { fill: #8ce99a } .finishing { fill: #ffec99 }
  .draining { fill: #eebefa } .leaving { fill: #c5f6fa } .lingering { fill: #ffc9c9 }
  .free { fill: #ffffff; stroke: #afb8c1 }
  .state { fill: #1f2328; font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .panel { fill: #0d1117; stroke: #30363d }
    .box { fill: #161b22; stroke: #484f58 }
    .chip { fill: #0d1117; stroke: #30363d }
    .line { stroke: #9198a1 } .faint { stroke: #484f58 } .wire { stroke: #4493f8 }
    .tip { fill: #9198a1 } .faint-tip { fill: #484f58 } .wire-tip { fill: #4493f8 }
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .bytes { fill: #4493f8 } .state { fill: #1f2328 }
  }
</style>"""


# the layers


@attrs.frozen
class Module:
    """One file of the package.

    Attributes:
        path: relative to the package.
        purpose: the first line of its docstring.
        layer: the folder, or the file's own name where it stands alone.
        imports: the other layers that it imports at run time.
    """

    path: str
    purpose: str
    layer: str
    imports: frozenset[str]


def find_modules() -> list[Module]:
    """Return the modules of the package by path, but for its public names and its entry as a command."""
    entries = {PACKAGE / "__init__.py", PACKAGE / "__main__.py"}
    paths = sorted(path for path in PACKAGE.rglob("*.py") if path not in entries)
    return [_read_module(path) for path in paths]


def _read_module(path: Path) -> Module:
    tree = ast.parse(path.read_text())
    purpose = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
    relative = path.relative_to(PACKAGE)
    layer = relative.parts[0].removesuffix(".py")
    imported = frozenset(name for node in tree.body for name in _imported_layers(node)) - {layer}
    return Module(relative.as_posix(), purpose, layer, imported)


def _imported_layers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        first, _, rest = node.module.partition(".")
        if first == NAME:
            yield from [rest.split(".")[0]] if rest else [alias.name for alias in node.names]
    for child in ast.iter_child_nodes(node):
        yield from _imported_layers(child)


def draw_layers(modules: list[Module]) -> str:
    """Return the layers as SVG: the highest on top, each with its files, and an arrow to every layer it stands on."""
    below = {module.layer: set[str]() for module in modules}
    for module in modules:
        below[module.layer] |= module.imports & below.keys()
    layers = sorted(below, key=lambda layer: (-_height(layer, below), layer))
    width, box_width, left, top = 890, 620, 24, 24.0
    parts: list[str] = []
    middle: dict[str, float] = {}
    for layer in layers:
        own = [module for module in modules if module.layer == layer]
        chips, height = _chips(own, left, top, box_width)
        parts.append(f'<rect class="box" x="{left}" y="{top:g}" width="{box_width}" height="{height:g}" rx="8"/>')
        parts.append(f'<text class="title" x="{left + 14}" y="{top + 24:g}">{escape(layer)}</text>')
        purpose = next((module.purpose for module in own if module.path.endswith("__init__.py")), own[0].purpose)
        parts.append(
            f'<text class="small quiet" x="{left + 112}" y="{top + 24:g}">{escape(_shortened(purpose))}</text>'
        )
        parts += chips
        middle[layer] = top + height / 2
        top += height + 14
    parts += _arrows(layers, below, middle, left + box_width)
    parts.append(f'<text class="small quiet" x="{left + box_width + 50}" y="{top + 4:g}">arrows: imports</text>')
    return _svg(width, top + 18, "The layers of fcgi_async and which imports which", parts)


def _height(layer: str, below: dict[str, set[str]]) -> int:
    return 1 + max((_height(lower, below) for lower in below[layer]), default=0)


def _shortened(text: str) -> str:
    text = text.replace("`", "")
    return text if len(text) <= 76 else text[:74].rsplit(" ", 1)[0] + " …"


def _chips(modules: list[Module], left: float, top: float, box_width: float) -> tuple[list[str], float]:
    names = [name for module in modules if (name := module.path.rpartition("/")[2]) != "__init__.py"]
    x, y, parts = left + 14.0, top + 38.0, list[str]()
    for name in names:
        width = 7.3 * len(name) + 16
        if x + width > left + box_width - 10:
            x, y = left + 14.0, y + 30
        parts.append(f'<rect class="chip" x="{x:g}" y="{y:g}" width="{width:.1f}" height="22" rx="5"/>')
        parts.append(f'<text class="code" x="{x + 8:g}" y="{y + 15:g}">{name}</text>')
        x = round(x + width + 8, 1)
    return parts, y + 34 - top


def _arrows(layers: list[str], below: dict[str, set[str]], middle: dict[str, float], x: float) -> Iterator[str]:
    order = {layer: index for index, layer in enumerate(layers)}
    arriving = dict.fromkeys(layers, 0)
    for upper in layers:
        for departing, lower in enumerate(sorted(below[upper], key=order.__getitem__)):
            start = middle[upper] + 4 + 6 * departing
            end = middle[lower] - 4 - 6 * arriving[lower]
            arriving[lower] += 1
            bend = x + 26 + 26 * (order[lower] - order[upper])
            kind = "faint" if lower == "errors" else "line"
            tip = "faint-tip" if lower == "errors" else "tip"
            yield f'<path class="{kind}" d="M{x},{start:g} C{bend},{start:g} {bend},{end:g} {x + 7},{end:g}"/>'
            yield f'<path class="{tip}" d="M{x},{end:g} l8,-4 v8 z"/>'


# a job's way

COLUMNS: Final = (
    ("the caller", 90),
    ("dispatch/", 310),
    ("pool/", 560),
    ("net/ and wire/", 790),
    ("a PHP worker", 1050),
)


@attrs.frozen
class Step:
    """One arrow from column to column, or a remark where both are the same; `wire` where bytes travel."""

    start: int
    end: int
    text: str
    wire: bool = False


@attrs.frozen
class SlotBecomes:
    """What the job's slot is from here on."""

    state: str


JOB: Final[tuple[Step | SlotBecomes, ...]] = (
    Step(0, 1, "await php.run(job)"),
    Step(1, 1, "Scheduler.submit(), JobQueue.push()"),
    Step(1, 2, "Pool.offer()"),
    Step(2, 2, "Pool._grow(), SlotLedger.take()"),
    SlotBecomes("connecting"),
    Step(2, 3, "dial(), Transport()"),
    Step(3, 4, "GET_VALUES, twice: the head probe", wire=True),
    Step(4, 4, "accept()"),
    Step(4, 3, "both answered: a worker is ours", wire=True),
    Step(3, 2, "Pool.worker_free()"),
    SlotBecomes("idle"),
    Step(2, 1, "Scheduler.assign()"),
    Step(1, 2, "Execution.begin(), Pool.begin()"),
    SlotBecomes("busy"),
    Step(2, 3, "Connection.begin()"),
    Step(3, 4, "BEGIN_REQUEST … STDIN, GET_VALUES", wire=True),
    Step(4, 3, "STDOUT, STDERR …", wire=True),
    Step(3, 1, "Execution.receive_stdout()"),
    Step(4, 3, "END_REQUEST: the response is there", wire=True),
    Step(3, 2, "Pool.request_ended()"),
    SlotBecomes("finishing"),
    Step(3, 1, "Execution.receive_end()"),
    Step(1, 0, "Response"),
    Step(4, 4, "the script may still run"),
    Step(4, 3, "GET_VALUES_RESULT: the worker is free", wire=True),
    Step(3, 2, "Pool.worker_free()"),
    SlotBecomes("idle"),
    Step(2, 1, "Scheduler.assign(): next job"),
)


def draw_job() -> str:
    """Return a job's way as SVG, time running downward; the slot's state is the coloured bar."""
    top, step_height = 76, 34
    places = [x for _, x in COLUMNS]
    arrows: list[str] = []
    bars: list[str] = []
    slot: tuple[str, float] | None = None
    y = float(top)
    for item in JOB:
        if isinstance(item, SlotBecomes):
            bars += _bar(slot, y - 12, places[2])
            slot = (item.state, y - 12)
        else:
            arrows += _remark(item, places, y) if item.start == item.end else _arrow(item, places, y)
            y += step_height
    bars += _bar(slot, y, places[2])
    parts: list[str] = []
    for title, x in COLUMNS:
        parts.append(f'<path class="faint" stroke-dasharray="3 4" d="M{x},56 V{y:g}"/>')
        parts.append(f'<rect class="box" x="{x - 66}" y="20" width="132" height="32" rx="8"/>')
        parts.append(f'<text class="title" text-anchor="middle" x="{x}" y="41">{escape(title)}</text>')
    return _svg(1150, y + 20, "A job's way from run() to its Response", parts + bars + arrows)


def _bar(slot: tuple[str, float] | None, end: float, x: float) -> list[str]:
    if slot is None:
        return []
    state, start = slot
    middle = (start + end) / 2
    return [
        f'<rect class="{state}" x="{x - 9}" y="{start:g}" width="18" height="{end - start:g}"/>',
        f'<text class="state" text-anchor="middle" x="{x}" y="{middle:g}" dy="4"'
        f' transform="rotate(-90 {x} {middle:g})">{state.upper()}</text>',
    ]


def _arrow(step: Step, places: list[int], y: float) -> list[str]:
    margin = {places[2]: 10}
    sign = 1 if step.end > step.start else -1
    start = places[step.start] + sign * margin.get(places[step.start], 0)
    end = places[step.end] - sign * margin.get(places[step.end], 0)
    kind = "wire" if step.wire else "line"
    tip = "wire-tip" if step.wire else "tip"
    # the label stands in the last gap that the arrow crosses
    neighbour = places[step.end - sign]
    return [
        f'<path class="{kind}" d="M{start},{y:g} H{end - 7 * sign}"/>',
        f'<path class="{tip}" d="M{end},{y:g} l{-8 * sign},-4 v8 z"/>',
        _label(step, (places[step.end] + neighbour) / 2, y - 6),
    ]


def _remark(step: Step, places: list[int], y: float) -> list[str]:
    return [
        f'<circle class="tip" cx="{places[step.start]}" cy="{y:g}" r="3"/>',
        _label(step, places[step.start], y - 8),
    ]


def _label(step: Step, x: float, y: float) -> str:
    look = "small bytes" if step.wire else "code" if "()" in step.text else "small"
    return f'<text class="{look}" text-anchor="middle" x="{x:g}" y="{y:g}">{escape(step.text)}</text>'


# a slot's life

FREE: Final = "free"
SLOT_PLACES: Final = {
    FREE: (76, 130),
    "connecting": (256, 130),
    "idle": (450, 130),
    "busy": (690, 130),
    "finishing": (560, 225),
    "draining": (690, 310),
    "leaving": (450, 390),
    "lingering": (256, 300),
}


@attrs.frozen
class Becomes:
    """What makes one state of a slot the next.

    Attributes:
        why: its label.
        bend: how far its middle is pushed to the left of its way, negative to the right.
        shift: where the label is, from that middle.
    """

    why: str
    bend: float = 0
    shift: tuple[float, float] = (0, -8)


SLOT: Final = {
    (FREE, "connecting"): Becomes("taken, connect()", 0, (-10, -26)),
    ("connecting", "idle"): Becomes("head probe answered", 0, (22, -26)),
    ("connecting", "busy"): Becomes("a peer that is not probed", 62, (0, -5)),
    ("idle", "busy"): Becomes("a job is written", 20, (0, -5)),
    ("busy", "idle"): Becomes("it was not ready", 0, (0, 16)),
    ("busy", "finishing"): Becomes("END_REQUEST", 0, (-50, 0)),
    ("finishing", "idle"): Becomes("tail probe answered", 0, (-112, 40)),
    ("busy", "draining"): Becomes("caller gone", 0, (48, -30)),
    ("draining", "idle"): Becomes("", 48),
    ("busy", "leaving"): Becomes("", 150),
    ("finishing", "leaving"): Becomes("drain_timeout", 0, (-52, 14)),
    ("draining", "leaving"): Becomes("drain_timeout, drain_bytes", 0, (40, 22)),
    ("leaving", FREE): Becomes("the worker has left the script", 120, (60, 34)),
    ("leaving", "lingering"): Becomes("not FPM's own socket", 0, (-84, 20)),
    ("busy", "lingering"): Becomes(""),
    ("finishing", "lingering"): Becomes(""),
    ("draining", "lingering"): Becomes(""),
    ("lingering", "connecting"): Becomes("a job waits", 0, (44, 40)),
    ("lingering", FREE): Becomes("linger is over", 0, (-34, -4)),
    ("idle", FREE): Becomes("keepalive.idle is over", 34, (0, 17)),
}


def draw_slot() -> str:
    """Return the life of a slot as SVG; every transition of the ledger, and of those to FREE the usual two."""
    drawn = {edge for edge in SLOT if FREE not in edge}
    if odd := drawn ^ {(state.value, after.value) for state, row in SLOT_TRANSITIONS.items() for after in row}:
        raise SystemExit(f"docs/diagrams.py draws other transitions than slots have: {sorted(odd)}")
    parts = [part for edge, becomes in SLOT.items() for part in _becomes(*edge, becomes)]
    for state, (x, y) in SLOT_PLACES.items():
        parts.append(f'<rect class="{state}" x="{x - 52}" y="{y - 20}" width="104" height="40" rx="20"/>')
        parts.append(f'<text class="state" text-anchor="middle" x="{x}" y="{y + 4}">{state.upper()}</text>')
    parts.append('<text class="small quiet" x="28" y="30">all but FREE count against the share</text>')
    return _svg(915, 470, "The life of a slot: what it may become, and why", parts)


def _becomes(before: str, after: str, becomes: Becomes) -> Iterator[str]:
    (x1, y1), (x2, y2) = SLOT_PLACES[before], SLOT_PLACES[after]
    length = hypot(x2 - x1, y2 - y1)
    # the control point: off the middle, at a right angle to the way
    cx = (x1 + x2) / 2 + 2 * becomes.bend * (y2 - y1) / length
    cy = (y1 + y2) / 2 - 2 * becomes.bend * (x2 - x1) / length
    x1, y1 = _edge(x1, y1, cx, cy)
    x2, y2 = _edge(x2, y2, cx, cy)
    angle = degrees(atan2(y2 - cy, x2 - cx))
    yield f'<path class="line" d="M{x1:.0f},{y1:.0f} Q{cx:.0f},{cy:.0f} {x2:.0f},{y2:.0f}"/>'
    yield f'<path class="tip" transform="translate({x2:.0f} {y2:.0f}) rotate({angle:.0f})" d="M1,0 l-9,-4 v8 z"/>'
    x, y = (x1 + 2 * cx + x2) / 4 + becomes.shift[0], (y1 + 2 * cy + y2) / 4 + becomes.shift[1]
    if becomes.why:
        yield f'<text text-anchor="middle" x="{x:.0f}" y="{y:.0f}">{escape(becomes.why)}</text>'


def _edge(x: int, y: int, towards_x: float, towards_y: float) -> tuple[int, int]:
    """Where a way from the middle of a state leaves its outline."""
    dx, dy = towards_x - x, towards_y - y
    scale = min(56 / abs(dx) if dx else inf, 23 / abs(dy) if dy else inf)
    return round(x + dx * scale), round(y + dy * scale)


def _svg(width: float, height: float, title: str, parts: list[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            STYLE,
            f'<rect class="panel" x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="12"/>',
            *parts,
            "</svg>\n",
        ]
    )
