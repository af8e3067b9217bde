"""Writes the generated parts of the documentation: `python -m docs.generate`; with `--check` says what is stale.

Generated are the pictures of the architecture page, the page of benchmarks (from the figures that `make bench` stored;
their charts it draws itself), and whatever stands between `<!-- begin:NAME -->` and
`<!-- end:NAME -->`: tables made from the code, so that the two cannot disagree.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import getdoc
from pathlib import Path
from textwrap import dedent
from typing import Final

import attrs

from benchmarks.report.page import headline, page
from benchmarks.report.results import Measured
from docs.diagrams import draw_job, draw_layers, draw_slot, find_modules
from docs.telemetry_run import real_run
from fcgi_async import errors as errors_module
from fcgi_async.cli import make_parser
from fcgi_async.dispatch.request import DEFAULT_PARAMS, FORBIDDEN_PARAMS, RequestEncoder
from fcgi_async.dispatch.statistics import Statistics
from fcgi_async.job.job import Job
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.slots import SLOT_TRANSITIONS, SlotState
from fcgi_async.telemetry.readings import DURATIONS, READINGS
from fcgi_async.wire.records import decode_pairs
from fcgi_async.wire.spec import Role
from fcgi_async.wire.states import NEXT_STREAM, TRANSITIONS, Input, RequestState
from tests.dispatch.hostile.case import Case
from tests.dispatch.hostile_peers import THEMES

__all__ = ("BLOCKS", "DOCS", "WHOLE", "main", "stale", "write")

DOCS: Final = Path(__file__).parent

DEFAULT_REASONS: Final[Mapping[str, str]] = {
    "GATEWAY_INTERFACE": "RFC 3875, 4.1.4 demands it",
    "HTTP_HOST": "every HTTP/1.1 request has it; frameworks build absolute URLs from it; a `Host` header replaces it",
    "REDIRECT_STATUS": "PHP built with `--enable-force-cgi-redirect` demands it; web servers send it to every PHP",
    "REMOTE_ADDR": "RFC 3875, 4.1.8 demands it, and programs read it without asking",
    "REMOTE_PORT": "programs log it beside REMOTE_ADDR; 0, because there is no such port",
    "REQUEST_SCHEME": 'what web servers send for plain HTTP; for TLS give `params={"HTTPS": "on", ...}` as well',
    "SERVER_ADDR": "web servers send it, so programs read it without asking",
    "SERVER_NAME": "RFC 3875, 4.1.14 demands it",
    "SERVER_PORT": "RFC 3875, 4.1.15 demands it; 80 goes with `http`",
    "SERVER_PROTOCOL": "RFC 3875, 4.1.16 demands it",
    "SERVER_SOFTWARE": "RFC 3875, 4.1.17 demands it",
}

JOB_REASONS: Final[Mapping[str, str]] = {
    "CONTENT_LENGTH": "counted, where there is a body: PHP-FPM reads this many bytes, whatever comes",
    "CONTENT_TYPE": "where `json=`, `form=` or `files=` decide it, or a `Content-Type` header says it",
    "DOCUMENT_ROOT": "`Endpoint.root`, or the script's folder if there is none",
    "PATH_INFO": "with `uri=`: what follows SCRIPT_NAME in its path, percent-decoded; empty if it does not begin so",
    "QUERY_STRING": "from `uri=` or `query=`; RFC 3875, 4.1.7 demands it, empty or not",
    "REQUEST_METHOD": "`method=` in capitals, else POST with a body and GET without; PHP-FPM runs no script without it",
    "REQUEST_URI": "`uri=`, else SCRIPT_NAME, percent-encoded, and the query; frameworks route by it",
    "SCRIPT_FILENAME": "`script=`, under `Endpoint.root` where it is relative: the file that PHP-FPM runs",
    "SCRIPT_NAME": "SCRIPT_FILENAME below DOCUMENT_ROOT",
}

EXAMPLE_ROOT: Final = "/srv/app/public"
EXAMPLES: Final[Mapping[str, Job]] = {
    'Job("index.php")': Job("index.php"),
    'Job("index.php", uri="/orders/7?x=1")': Job("index.php", uri="/orders/7?x=1"),
    'Job("in/thumb.php", json={"id": 7})': Job("in/thumb.php", json={"id": 7}),
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def files() -> str:
    """Which file answers which question: what each says of itself."""
    rows = [
        (f"[`{module.path}`](../fcgi_async/{module.path})", module.purpose)
        for module in find_modules()
        if not module.path.endswith("__init__.py")
    ]
    return table(("file", "what it is"), rows)


def request_states() -> str:
    """What each state of a request means."""
    return table(("state", "meaning"), [(state.name, state.value) for state in RequestState])


def request_transitions() -> str:
    """State x input, as `TRANSITIONS` has it; an empty cell is an error of whoever sent it."""

    def cell(state: RequestState, what: Input) -> str:
        row = TRANSITIONS[state]
        if what not in row:
            return ""
        following = row[what]
        return "*next stream*" if following is None else following.name

    head = ("state", *(f"{what.name}" for what in Input))
    return table(head, [(state.name, *(cell(state, what) for what in Input)) for state in RequestState])


def next_streams() -> str:
    """What "next stream" is for each role."""
    states = [state for state in RequestState if any(state is following for _, following in NEXT_STREAM)]
    rows = [
        (state.name, *(NEXT_STREAM[role, state].name if (role, state) in NEXT_STREAM else "" for role in Role))
        for state in states
    ]
    return table(("at the end of", *(role.name for role in Role)), rows)


def documented(kind: type) -> dict[str, str]:
    """The attributes of a class, as its docstring explains them."""
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", getdoc(kind) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def slot_states() -> str:
    """What each state of a slot means, and what may follow it; FREE is what has left the ledger."""
    meanings = documented(Statistics)
    rows = [
        (
            state.name,
            meanings[state.value],
            ", ".join([*(other.name for other in SlotState if other in SLOT_TRANSITIONS[state]), "FREE"]),
        )
        for state in SlotState
    ]
    return table(("state", "meaning", "may become"), rows)


def default_params() -> str:
    """What is sent with every job."""
    require_reasons(DEFAULT_PARAMS, DEFAULT_REASONS)
    return table(
        ("parameter", "value", "why"),
        [(f"`{name}`", f"`{value}`", DEFAULT_REASONS[name]) for name, value in DEFAULT_PARAMS.items()],
    )


def job_params() -> str:
    """What is made from each job."""
    require_reasons(dict.fromkeys(name for job in EXAMPLES.values() for name in sent(job)), JOB_REASONS)
    return table(("parameter", "where it comes from"), [(f"`{name}`", why) for name, why in JOB_REASONS.items()])


def job_examples() -> str:
    """What some jobs send beside the defaults."""
    columns = [sent(job) for job in EXAMPLES.values()]
    rows = [
        (
            f"`{name}`",
            *(f"`{column[name]}`" if column.get(name) else "empty" if name in column else "" for column in columns),
        )
        for name in JOB_REASONS
    ]
    return table(("parameter", *(f"`{title}`" for title in EXAMPLES)), rows)


def forbidden_params() -> str:
    """What is refused."""
    rows = [
        (f"`{name}`", why, "never" if name == "CONTENT_LENGTH" else f"`Endpoint(allow_params={{{name!r}}})`")
        for name, why in FORBIDDEN_PARAMS.items()
    ]
    return table(("parameter", "why", "permitted by"), rows)


def errors() -> str:
    """The error tree, as `errors.py` draws it."""
    tree, _, rest = (getdoc(errors_module) or "").partition("\n\n")[2].partition("\n\n")
    return f"```text\n{dedent(tree)}\n```\n\n{' '.join(rest.split())}"


def command() -> str:
    """The commands and their arguments, as their parsers know them."""
    parser = make_parser()
    parts = [
        f"{'#' * depth} fcgi-async {name}\n\n{_arguments(found)}" for name, found, depth in _commands(parser, "", 2)
    ]
    return "\n\n".join([*parts, f"## Exit codes\n\n{(parser.epilog or '').removeprefix('Exit codes: ')}"])


def _commands(
    parser: argparse.ArgumentParser, before: str, depth: int
) -> Iterator[tuple[str, argparse.ArgumentParser, int]]:
    """The commands of a parser, and after each its own, with the depth of their headings."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, found in action.choices.items():
                yield f"{before}{name}", found, depth
                yield from _commands(found, f"{before}{name} ", depth + 1)


def _arguments(parser: argparse.ArgumentParser) -> str:
    parts, rows = [parser.description or ""], list[tuple[str, str]]()
    for group in parser._action_groups:
        parts += [f"**{group.title}**: {group.description}"] if group.description else []
        rows += [
            _argument(action)
            for action in group._group_actions
            if action.dest != "help" and not isinstance(action, argparse._SubParsersAction)
        ]
    return "\n\n".join([*parts, table(("argument", "meaning"), rows)])


def _argument(action: argparse.Action) -> tuple[str, str]:
    takes = "" if action.nargs == 0 else f" {action.metavar}"
    names = ", ".join(f"{name}{takes if name.startswith('--') else ''}" for name in action.option_strings)
    return f"`{names or action.metavar}`", action.help or ""


def hostile_peers(theme: str) -> str:
    """What the peers of one theme do, and what their jobs get."""
    return table(("peer", "what it does", "what the job gets"), [_hostile_peer(case) for case in THEMES[theme]])


def _hostile_peer(case: Case) -> tuple[str, str, str]:
    jobs: dict[str, list[str]] = {}
    for name, expected in case.expected.items():
        jobs.setdefault(str(expected), []).append(f"*{name}*")
    gets = (
        next(iter(jobs)) if len(jobs) == 1 else "; ".join(f"{', '.join(names)}: {got}" for got, names in jobs.items())
    )
    return case.name, case.peer, gets if case.next_served else f"{gets}; so does the next"


def statistics() -> str:
    """What statistics() has, and which of it only rises."""
    names = [field.name for field in attrs.fields(Statistics)]
    meanings = documented(Statistics)
    counters = names[names.index("completed") :]
    rows = [(f"`{name}`", "counter" if name in counters else "gauge", meanings[name]) for name in names]
    return table(("name", "kind", "meaning"), rows)


def metric_names() -> str:
    """Each metric, under its two names."""

    def by(name: str, label: str) -> str:
        return f"`{name}` by `{label}`" if label else f"`{name}`"

    durations = [(by(found.otel, ""), by(found.prometheus, ""), "histogram, s", found.help) for found in DURATIONS]
    read = [
        (
            by(found.otel, found.attribute),
            by(found.prometheus + ("_total" if found.counter else ""), found.label),
            f"{'counter' if found.counter else 'gauge'}, {found.unit}",
            found.help,
        )
        for found in READINGS
    ]
    return table(("OpenTelemetry", "Prometheus", "kind, unit", "meaning"), durations + read)


def collected(part: str) -> str:
    """What telemetry collected of a real run."""
    return f"```text\n{getattr(real_run(), part)}\n```"


def sent(job: Job) -> dict[str, str]:
    """Return the parameters that are sent with a job, those sent with every job left out."""
    encoder = RequestEncoder(Endpoint("unix:///run/php/php-fpm.sock", root=EXAMPLE_ROOT))
    pairs = [pair for content in encoder.encode(job).params for pair in decode_pairs(content)]
    return {name.decode(): value.decode() for name, value in pairs if name.decode() not in DEFAULT_PARAMS}


def require_reasons(params: Iterable[str], reasons: Iterable[str]) -> None:
    """Refuse to write a table that would leave something out, or explain what is not sent."""
    if odd := set(params) ^ set(reasons):
        raise SystemExit(f"docs/generate.py explains other parameters than are sent: {', '.join(sorted(odd))}")


# file -> block -> what writes it
BLOCKS: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "architecture.md": {
        "files": files,
        "request-states": request_states,
        "request-transitions": request_transitions,
        "next-streams": next_streams,
        "slot-states": slot_states,
    },
    "reference/parameters.md": {
        "default-params": default_params,
        "job-params": job_params,
        "job-examples": job_examples,
        "forbidden-params": forbidden_params,
    },
    "reference/errors.md": {"errors": errors},
    "reference/command.md": {"command": command},
    "../README.md": {"bench": lambda: headline(Measured.read(DOCS))},
    "telemetry.md": {
        "statistics": statistics,
        "metric-names": metric_names,
        **{part: partial(collected, part) for part in ("log", "spans", "traceparent", "metrics", "scrape")},
    },
    "hostile-peers.md": {theme: partial(hostile_peers, theme) for theme in THEMES},
}

# file -> what writes all of it
WHOLE: Final[Mapping[str, Callable[[], str]]] = {
    "benchmarks.md": lambda: page(Measured.read(DOCS)),
    "images/layers.svg": lambda: draw_layers(find_modules()),
    "images/job.svg": draw_job,
    "images/slot.svg": draw_slot,
}


def render(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """Return a page with its blocks written anew.

    Raises:
        ValueError: a block is missing, or nobody knows what it is.
    """
    found = re.findall(r"<!-- begin:([\w-]+) -->", text)
    if sorted(found) != sorted(blocks):
        raise ValueError(f"the page has the blocks {sorted(found)} and should have {sorted(blocks)}")
    for name, make in blocks.items():
        begin, end = f"<!-- begin:{name} -->", f"<!-- end:{name} -->"
        before, _, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_end:
            raise ValueError(f"the block {name} has no end")
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def outputs() -> dict[Path, str]:
    """Return what every generated file should contain."""
    pages = {DOCS / page: render((DOCS / page).read_text(), blocks) for page, blocks in BLOCKS.items()}
    return pages | {DOCS / file: make() for file, make in WHOLE.items()}


def stale() -> list[str]:
    """Return the files that are not what the code says."""
    return [
        path.relative_to(DOCS).as_posix()
        for path, text in outputs().items()
        if not path.exists() or path.read_text() != text
    ]


def write() -> None:
    """Write every generated part."""
    for path, text in outputs().items():
        path.write_text(text)


def main() -> int:
    """Write the generated parts, or with `--check` say which are stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where something is stale")
    if not parser.parse_args().check:
        write()
        return 0
    found = stale()
    for name in found:
        print(f"docs/{name} is stale: run `make docs`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
