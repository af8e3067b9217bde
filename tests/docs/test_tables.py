"""Tables of the documentation say what the code says; where one does not, the difference shows what to write."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from inspect import getdoc
from textwrap import dedent
from types import ModuleType
from typing import Any

import attrs
import pytest

from fcgi_async import Endpoint, Job, Statistics, errors, jobs
from fcgi_async.asgi import HIDDEN, PHPApplication
from fcgi_async.asgi.php_application.rules import NO_SCRIPTS
from fcgi_async.cli import EXIT_CODES, make_parser
from fcgi_async.dispatch.request import DEFAULT_PARAMS, FORBIDDEN_PARAMS, RequestEncoder
from fcgi_async.pool.slots import SLOT_TRANSITIONS
from fcgi_async.telemetry.gateway_readings import GATEWAY_READINGS
from fcgi_async.telemetry.pool_readings import POOL_READINGS
from fcgi_async.telemetry.readings import DURATIONS, READINGS, Reading
from fcgi_async.wire.records import decode_pairs
from fcgi_async.wire.spec import Role
from fcgi_async.wire.states import NEXT_STREAM, TRANSITIONS, Input, RequestState
from tests.dispatch.hostile.case import Case
from tests.dispatch.hostile_peers import THEMES
from tests.docs.blocks import DOCS, blocks

Row = tuple[str, ...]

TABLE = re.compile(r"^\| (?!--)(.*) \|\n\| ---.*\n((?:\|.*\n)*)", re.MULTILINE)


def cells(line: str) -> Row:
    """The cells of a line of a table."""
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|")))


def table(page: str, heading: str, number: int = 0) -> list[Row]:
    """The rows of a table under a heading, without its head; the first table unless told otherwise."""
    text = (DOCS / page).read_text()
    mark = "\n## " if f"\n## {heading}\n" in text else "\n### "
    section = text.partition(f"{mark}{heading}\n")[2]
    assert section, f"docs/{page} has no heading {heading!r}"
    return [cells(line) for line in TABLE.findall(section.partition(mark)[0])[number][1].splitlines()]


def documented(kind: type) -> dict[str, str]:
    """The attributes of a class, as its docstring explains them."""
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", getdoc(kind) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def columns(rows: Iterable[Row], *numbers: int) -> list[Row]:
    """Some of the columns; the others are for people, and only have to say something."""
    whole = list(rows)
    assert all(len(row) == len(whole[0]) and row[-1] for row in whole)
    return [tuple(row[number] for number in numbers) for row in whole]


def sent(job: Job) -> dict[str, str]:
    """The parameters that are sent with a job beside those sent with every job."""
    encoder = RequestEncoder(Endpoint("unix:///run/php/php-fpm.sock", root="/srv/app/public"))
    pairs = [pair for content in encoder.encode(job).params for pair in decode_pairs(content)]
    return {name.decode(): value.decode() for name, value in pairs if name.decode() not in DEFAULT_PARAMS}


EXAMPLES = [Job("index.php"), Job("index.php", uri="/orders/7?x=1"), Job("in/thumb.php", json={"id": 7})]


def test_params_sent_with_every_job() -> None:
    """Each has its name and value, and a reason."""
    rows = table("reference/parameters.md", "Sent with every job")
    assert columns(rows, 0, 1) == [(f"`{name}`", f"`{value}`") for name, value in DEFAULT_PARAMS.items()]


def test_params_made_from_each_job() -> None:
    """Each that is made of one of the examples is explained, and none that is not made."""
    rows = table("reference/parameters.md", "Made from each job")
    names = {name for job in EXAMPLES for name in sent(job)}
    assert columns(rows, 0) == [(f"`{name}`",) for name in sorted(names)]


def test_examples_of_params() -> None:
    """The examples send what their columns say."""
    found = [sent(job) for job in EXAMPLES]
    assert table("reference/parameters.md", "Made from each job", 1) == [
        (f"`{name}`", *("" if name not in one else f"`{one[name]}`" if one[name] else "empty" for one in found))
        for name in sorted({name for one in found for name in one})
    ]


def test_forbidden_params() -> None:
    """Each is there with the reason that its error gives, and with what permits it."""
    assert table("reference/parameters.md", "Refused") == [
        (f"`{name}`", why, "never" if name == "CONTENT_LENGTH" else f"`Endpoint(allow_params={{{name!r}}})`")
        for name, why in FORBIDDEN_PARAMS.items()
    ]


@pytest.mark.parametrize(("module", "page"), [(errors, "errors.md"), (jobs.errors, "durable-jobs.md")])
def test_tree_of_errors(module: ModuleType, page: str) -> None:
    """It is the tree in the docstring of errors.py."""
    tree = (getdoc(module) or "").partition("\n\n")[2].partition("\n\n")[0]
    assert [block.text for block in blocks(DOCS / "reference" / page)] == [f"{dedent(tree)}\n"]


PARSER = make_parser()
(COMMANDS,) = [action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction)]


def argument(action: argparse.Action) -> Row:
    """The row of an argument."""
    takes = "" if action.nargs == 0 else f" {action.metavar}"
    names = ", ".join(f"{name}{takes if name.startswith('--') else ''}" for name in action.option_strings)
    return f"`{names or action.metavar}`", action.help or ""


def commands(actions: argparse._SubParsersAction, before: str = "") -> dict[str, argparse.ArgumentParser]:
    """Each command by its name, and what it is made of after it."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, parser in actions.choices.items():
        found[before + name] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found |= commands(action, f"{before}{name} ")
    return found


EVERY_COMMAND = commands(COMMANDS)


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_command(name: str) -> None:
    """Every argument of a command is there, with what `--help` says of it and of its group."""
    parser = EVERY_COMMAND[name]
    groups = [group for group in parser._action_groups if group._group_actions]
    actions = [
        action
        for group in parser._action_groups
        for action in group._group_actions
        if action.dest != "help" and not isinstance(action, argparse._SubParsersAction)
    ]
    assert table("reference/command.md", f"fcgi-async {name}") == [argument(action) for action in actions]
    page = (DOCS / "reference" / "command.md").read_text()
    assert f"## fcgi-async {name}\n\n{parser.description}\n" in page
    assert all(f"**{group.title}**: {group.description}\n" in page for group in groups if group.description)


def test_exit_codes() -> None:
    """They are those of `--help`."""
    rows = table("reference/command.md", "Exit codes")
    assert rows == [(str(code), meaning) for code, meaning in EXIT_CODES.items()]
    assert all(f"{code} {meaning}" in (PARSER.epilog or "") for code, meaning in EXIT_CODES.items())


def test_statistics() -> None:
    """Every number is there in its order, as its docstring explains it; the counters come last."""
    names = [field.name for field in attrs.fields(Statistics)]
    counters = names[names.index("completed") :]
    assert table("telemetry.md", "statistics()") == [
        (f"`{name}`", "counter" if name in counters else "gauge", documented(Statistics)[name]) for name in names
    ]


def by(name: str, label: str) -> str:
    """What a metric is called, and what tells its values apart."""
    return f"`{name}` by `{label}`" if label else f"`{name}`"


def rows_of(readings: Iterable[Reading[Any]]) -> list[Row]:
    """A row for each metric."""
    return [
        (
            by(found.otel, found.attribute),
            by(found.prometheus + ("_total" if found.counter else ""), found.label),
            f"{'counter' if found.counter else 'gauge'}, {found.unit}",
            found.help,
        )
        for found in readings
    ]


def test_metrics() -> None:
    """Every metric is there under its two names."""
    expected = [(by(found.otel, ""), by(found.prometheus, ""), "histogram, s", found.help) for found in DURATIONS]
    assert table("telemetry.md", "OpenTelemetry", 1) == [*expected, *rows_of(READINGS)]


def test_metrics_of_a_gateway() -> None:
    """Every metric is there under its two names."""
    assert table("telemetry.md", "A gateway") == rows_of(GATEWAY_READINGS)


def test_metrics_of_a_pool() -> None:
    """Every metric of the exporter is there."""
    expected = []
    for found in POOL_READINGS:
        by = f" by {', '.join(f'`{label}`' for label in found.labels)}" if found.labels else ""
        name = found.prometheus + ("_total" if found.counter else "")
        expected.append((f"`{name}`{by}", "counter" if found.counter else "gauge", found.help))
    assert table("telemetry.md", "The exporter") == expected


def request_transitions() -> list[Row]:
    def cell(state: RequestState, what: Input) -> str:
        if what not in TRANSITIONS[state]:
            return ""
        following = TRANSITIONS[state][what]
        return "*next stream*" if following is None else following.name

    return [(state.name, *(cell(state, what) for what in Input)) for state in RequestState]


def next_streams() -> list[Row]:
    states = [state for state in RequestState if any(state is following for _, following in NEXT_STREAM)]
    return [
        (state.name, *(NEXT_STREAM[role, state].name if (role, state) in NEXT_STREAM else "" for role in Role))
        for state in states
    ]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, lambda: [(state.name, state.value) for state in RequestState]),
        (1, request_transitions),
        (2, next_streams),
    ],
)
def test_states_of_a_request(number: int, expected: Callable[[], Sequence[Row]]) -> None:
    """The tables are those that client and responder run."""
    assert table("architecture.md", "The states of a request", number) == expected()


def test_states_of_a_slot() -> None:
    """The diagram has every transition of the ledger and no other; that of the front page has some of them."""
    every = {(before.name, after.name) for before, row in SLOT_TRANSITIONS.items() for after in row}
    drawn = {page: _drawn(page) for page in ("architecture.md", "index.md")}
    assert drawn["architecture.md"] == every
    assert drawn["index.md"] < every


def _drawn(page: str) -> set[Row]:
    texts = [block.text for block in blocks(DOCS / page) if block.text.startswith("stateDiagram")]
    return {(before, after) for text in texts for before, after in re.findall(r"(\w+) --> (\w+)", text)}


def hostile(case: Case) -> Row:
    """The row of a hostile peer."""
    jobs: dict[str, list[str]] = {}
    for name, expected in case.expected.items():
        jobs.setdefault(str(expected), []).append(f"*{name}*")
    parts = [got if len(jobs) == 1 else f"{', '.join(names)}: {got}" for got, names in jobs.items()]
    return case.name, case.peer, "; ".join(parts) + ("" if case.next_served else "; so does the next")


@pytest.mark.parametrize("theme", THEMES)
def test_hostile_peers(theme: str) -> None:
    """Every peer is there, with what it does and what its jobs get."""
    headings = {"endings": "Ends", "management": "Management records", "transport": "Connections"}
    heading = headings.get(theme, theme.capitalize())
    assert table("hostile-peers.md", heading) == [hostile(case) for case in THEMES[theme]]


@pytest.mark.parametrize("line", ["| a | b \\| c |", "|a|b \\| c|"])
def test_a_table_is_read(line: str) -> None:
    """Cells are told apart, also where one contains the sign between them."""
    assert cells(line) == ("a", "b | c")


def test_options_of_a_php_application() -> None:
    """Each is there with its default, and explained in the docstring too."""
    names = {id(HIDDEN): "HIDDEN", id(NO_SCRIPTS): "NO_SCRIPTS"}
    defaults = []
    for field in attrs.fields(PHPApplication):
        if field.init:
            default = field.default
            if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a function that makes classes, for mypy
                default = {}
            known = names.get(id(default), repr(default))
            defaults.append(
                (f"`{field.name}`", "" if default is attrs.NOTHING else f"`{known.replace(chr(39), chr(34))}`")
            )
    rows = table("guides/php-application.md", "Options")
    assert columns(rows, 0, 1) == defaults
    explained = [f"`{name}`" for name in documented(PHPApplication)]
    assert explained == [*(name for name, _ in defaults), "`ConfigurationError`"]


def test_glossary() -> None:
    """Each term once, in the order of the alphabet."""
    terms = [row.split("|")[1].strip() for row in (DOCS / "reference/glossary.md").read_text().splitlines()[6:]]
    assert terms == sorted(set(terms), key=str.lower)
    assert len(terms) > 40
