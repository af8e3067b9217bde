"""The HTML of the page of durable jobs; everything that is not written here is escaped."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final
from urllib.parse import urlencode

from fcgi_async.jobs.record import Counts, Record, State

__all__ = ("LONGEST", "STYLE", "render_job", "render_list", "render_message", "render_overview")

# how many characters of a long text are shown
LONGEST: Final = 20_000
_NAMES: Final[Mapping[State, str]] = {
    "ready": "ready",
    "running": "running",
    "delayed": "delayed",
    "in_doubt": "in doubt",
    "dead": "dead",
    "done": "done",
    "cancelled": "cancelled",
}

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #d9d9e0; --back: #f7f7f9; --card: #fff;
  --accent: #3451b2; --bad: #c02f3a; --warn: #9a5b00; --good: #18794e }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #b0b4ba; --line: #363a3f; --back: #111113;
  --card: #18191b; --accent: #9eb1ff; --bad: #ff9592; --warn: #ffca16; --good: #3dd68c } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 24px; max-width: 1180px; background: var(--back); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif }
h1 { font-size: 22px; margin: 0 } h2 { font-size: 16px; margin: 28px 0 8px }
a { color: var(--accent); text-decoration: none } a:hover { text-decoration: underline }
header { display: flex; gap: 16px; align-items: baseline; justify-content: space-between; margin-bottom: 18px }
.soft { color: var(--soft) } .tiles { display: grid; gap: 10px;
  grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)) }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px;
  color: var(--ink) }
.tile b { display: block; font-size: 24px; font-variant-numeric: tabular-nums }
.some.dead b { color: var(--bad) } .some.in_doubt b { color: var(--warn) } .some.running b { color: var(--good) }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow-x: auto }
table { width: 100%; border-collapse: collapse } th, td { padding: 7px 12px; text-align: left; vertical-align: top }
th { color: var(--soft); font-weight: 500; font-size: 13px } tr + tr { border-top: 1px solid var(--line) }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.error { max-width: 460px; overflow-wrap: anywhere }
code, pre { font: 13px/1.45 ui-monospace, monospace } pre { margin: 0; padding: 12px; white-space: pre-wrap;
  overflow-wrap: anywhere } progress { width: 90px }
button { font: inherit; font-size: 13px; padding: 3px 12px; border: 1px solid var(--line); border-radius: 6px;
  background: var(--back); color: var(--ink); cursor: pointer } button:hover { border-color: var(--accent) }
form.bar { display: flex; gap: 8px; margin-top: 8px } dl { display: grid; grid-template-columns: 150px 1fr; margin: 0;
  padding: 12px; gap: 6px 12px } dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
"""


def render_overview(
    counts: Counts, running: Sequence[Record], stuck: Mapping[State, Sequence[Record]], csrf: str | None
) -> str:
    """Return the overview page."""
    tiles = "".join(
        f'<a class="tile {state}{" some" if counts.states[state] else ""}" href="?state={state}">'
        f"<b>{counts.states[state]:,}</b>{name}</a>"
        for state, name in _NAMES.items()
    )
    oldest = "nothing is ready" if counts.oldest is None else f"the oldest ready job is due for {_span(counts.oldest)}"
    parts = [
        f'<div class="tiles">{tiles}</div>',
        f'<p class="soft">{oldest}; {_plural(len(counts.workers), "worker")}</p>',
        _queues(counts, csrf),
        _running(counts, running),
    ]
    for state, records in stuck.items():
        heading = f'<h2><a href="?state={state}">{_NAMES[state].capitalize()}</a></h2>'
        parts.append(heading + _choice(records, state, csrf, back=""))
    return _page("Jobs", "".join(parts), refresh=5 if csrf is None else None)


def render_list(state: State, records: Sequence[Record], csrf: str | None, *, more: bool) -> str:
    """Return the page with the jobs of one state."""
    following = ""
    if more:
        query = escape(urlencode({"state": state, "after": records[-1].number}), quote=True)
        following = f'<p><a href="?{query}">more</a></p>'
    body = _choice(records, state, csrf, back=state) if records else '<p class="soft">There are none.</p>'
    return _page(f"Jobs that are {_NAMES[state]}", body + following)


def render_job(record: Record, csrf: str | None) -> str:
    """Return the page of one job."""
    rows: list[tuple[str, str]] = [
        ("state", _text(_NAMES[record.state])),
        ("task", f"{_text(record.task)} <span class=soft>in queue {_text(record.queue or '?')}</span>"),
        ("attempts", f"{record.attempt} claimed, {record.failed} failed"),
        ("put", _when(record.created)),
        ("due", _when(record.due)),
        ("begun last", _when(record.started)),
        ("ended", _when(record.finished)),
        ("kept until", _when(record.keep_until)),
        ("worker", _text(record.worker)),
        ("progress", _progress(record)),
        ("priority", str(record.priority)),
        ("unique key", _text(record.unique)),
        ("batch", _text(record.batch)),
        ("trace", _text(record.trace)),
        ("status", _text(record.status)),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows if value)
    parts = [f'<div class="box"><dl>{listed}</dl></div>']
    texts = (
        ("Error", record.error, "error"),
        ("What PHP logged", record.stderr, "stderr"),
        ("Data", _pretty(record.data), "data"),
        ("Chain", record.chain and _pretty(record.chain), "chain"),
        ("Response", record.response and record.response.text, "response"),
    )
    for heading, text, name in texts:
        if text:
            length = record.lengths.get(name)
            unit = "bytes" if name == "response" else "characters"
            shown = _short(text) if length is None else f"{text} … ({length:,} {unit} in all)"
            parts.append(f'<h2>{heading}</h2><div class="box"><pre>{_text(shown)}</pre></div>')
    buttons = _buttons(record.state)
    if csrf is not None and buttons:
        hidden = _hidden(csrf, "job") + f'<input type="hidden" name="id" value="{_text(record.id)}">'
        parts.insert(1, f'<form class="bar" method="post">{hidden}{buttons}</form>')
    return _page(f"Job {record.id}", "".join(parts))


def render_message(message: str) -> str:
    """Return a page with only a message."""
    return _page("Jobs", f"<p>{_text(message)}</p>")


def _queues(counts: Counts, csrf: str | None) -> str:
    by_queue: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    ages: dict[str, float] = {}
    for task in {*counts.tasks, *counts.queues}:
        queue = counts.queues.get(task, "?")
        for state, count in counts.tasks.get(task, {}).items():
            by_queue[queue][state] += count
        _ = by_queue[queue]
        if task in counts.ages:
            ages[queue] = max(ages.get(queue, 0.0), counts.ages[task])
    for queue in counts.paused:
        _ = by_queue[queue]
    if not by_queue:
        return ""
    shown: tuple[State, ...] = ("ready", "running", "delayed", "in_doubt", "dead")
    rows = []
    for queue in sorted(by_queue):
        paused = queue in counts.paused
        name = "of tasks that no worker has" if queue == "?" else _text(queue)
        button = ""
        if csrf is not None and queue != "?":
            action = "resume" if paused else "pause"
            button = (
                f'<form method="post">{_hidden(csrf, "")}<input type="hidden" name="queue" value="{_text(queue)}">'
                f'<button name="action" value="{action}">{action}</button></form>'
            )
        numbers = "".join(f'<td class="n">{by_queue[queue].get(state, 0):,}</td>' for state in shown)
        age = _span(ages[queue]) if queue in ages else ""
        rows.append(
            f'<tr id="queue-{_text(queue)}"><td>{name}{" (paused)" if paused else ""}</td>{numbers}'
            f'<td class="n">{age}</td><td class="n">{button}</td></tr>'
        )
    heads = "".join(f'<th class="n">{_NAMES[state]}</th>' for state in shown)
    return (
        f'<h2>Queues</h2><div class="box"><table><tr><th>queue</th>{heads}<th class="n">oldest</th><th></th></tr>'
        f"{''.join(rows)}</table></div>"
    )


def _running(counts: Counts, records: Sequence[Record]) -> str:
    workers = {worker.id: worker for worker in counts.workers}
    by_host: dict[str, list[Record]] = defaultdict(list)
    for worker in counts.workers:
        _ = by_host[worker.host]
    for record in records:
        known = workers.get(record.worker or "")
        by_host[known.host if known else "?"].append(record)
    if not by_host:
        return '<h2>Running</h2><p class="soft">No worker is announced.</p>'
    parts = ["<h2>Running</h2>"]
    for host, jobs in sorted(by_host.items()):
        pids = ", ".join(str(worker.pid) for worker in counts.workers if worker.host == host)
        rows = "".join(
            f"<tr><td>{_link(job)}</td><td>{_text(job.task)}</td><td>{_progress(job)}</td>"
            f'<td class="n">{_ago(job.started)}</td></tr>'
            for job in jobs
        )
        head = f'<tr><th>{_text(host)} <span class="soft">{f"process {pids}" if pids else ""}</span></th><th></th>'
        empty = '<tr><td class="soft" colspan="4">idle</td></tr>'
        parts.append(
            f'<div class="box"><table>{head}<th></th><th class="n">since</th></tr>{rows or empty}</table></div>'
        )
    return "".join(parts)


def _choice(records: Sequence[Record], state: State, csrf: str | None, *, back: str) -> str:
    """Return a table of jobs, with boxes to choose some and buttons for actions."""
    buttons = _buttons(state) if csrf is not None else ""
    rows = "".join(
        "<tr>"
        + (f'<td><input type="checkbox" name="id" value="{_text(job.id)}" aria-label="choose"></td>' if buttons else "")
        + f"<td>{_link(job)}</td><td>{_text(job.task)}</td><td class=n>{job.failed}</td>"
        f'<td class="error">{_text(_line(job))}</td>'
        f'<td class="n">{_ago(job.finished or job.started or job.created)}</td>'
        "</tr>"
        for job in records
    )
    choose = "<th></th>" if buttons else ""
    table = (
        f'<div class="box"><table><tr>{choose}<th>job</th><th>task</th><th class="n">failed</th><th>error</th>'
        f'<th class="n">age</th></tr>{rows}</table></div>'
    )
    if not buttons or csrf is None:
        return table
    return f'<form method="post">{_hidden(csrf, back)}{table}<p>{buttons}</p></form>'


def _buttons(state: State) -> str:
    fits = [
        action
        for action, states in (
            ("retry", ("dead", "cancelled", "in_doubt")),
            ("cancel", ("delayed", "ready", "running", "in_doubt")),
        )
        if state in states
    ]
    return " ".join(f'<button name="action" value="{action}">{action}</button>' for action in fits)


def _hidden(csrf: str, back: str) -> str:
    fields = (("csrf", csrf), ("back", back))
    return "".join(f'<input type="hidden" name="{name}" value="{_text(value)}">' for name, value in fields)


def _page(title: str, body: str, *, refresh: int | None = None) -> str:
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh}">'
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        f'<meta name="viewport" content="width=device-width"><title>{_text(title)}</title><style>{STYLE}</style></head>'
        f'<body><header><h1>{_text(title)}</h1><span class="soft"><a href="?">overview</a> · {now}</span></header>'
        f"{body}</body></html>"
    )


def _text(value: object) -> str:
    return "" if value is None else escape(str(value), quote=True)


def _link(job: Record) -> str:
    return f'<a href="?{escape(urlencode({"id": job.id}), quote=True)}"><code>{_text(job.id[:40])}</code></a>'


def _line(job: Record) -> str:
    lines: Iterable[str] = (job.error or "").splitlines() or [""]
    last = (job.stderr or "").strip().splitlines()[-1:]
    return _short(" ".join([*lines, *(f"[{line}]" for line in last)]), 400)


def _progress(job: Record) -> str:
    if job.progress is None:
        return ""
    of = job.progress_of or 0
    bar = f'<progress value="{job.progress}" max="{of}"></progress> ' if of > 0 else ""
    return f"{bar}{job.progress} of {of}"


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _short(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def _when(moment: float | None) -> str:
    if moment is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC <span class=soft>({_ago(moment)})</span>"
    except (ValueError, OverflowError, OSError):
        return _text(moment)


def _ago(moment: float | None) -> str:
    if moment is None:
        return ""
    left = time.time() - moment
    return f"in {_span(-left)}" if left < 0 else _span(left)


def _span(seconds: float) -> str:
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
