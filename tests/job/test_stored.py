"""What a Job stores, and that it is a frozen value all the same."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgi_async.errors import InvalidJob
from fcgi_async.job.body import encode_json
from fcgi_async.job.form import encode_pairs
from fcgi_async.job.job import Job
from fcgi_async.job.settings import UNSET
from fcgi_async.wire.spec import Role

SENT = (
    "path",
    "query_string",
    "header_params",
    "body",
    "content_type",
    "has_body",
    "plain",
    "script",
    "method",
    "role",
)
FULL: dict[str, Any] = {
    "method": "put",
    "query": {"a": [1, 2]},
    "json": {"id": 7},
    "headers": {"X-A": "1"},
    "params": {"B": "2"},
    "priority": 3,
    "timeout": None,
    "queue_timeout": 1.5,
    "run_timeout": 2,
    "idempotent": True,
    "finishes_early": False,
    "success_mark": "done",
    "tag": ("a", 1),
}


def fields(job: Job) -> dict[str, object]:
    """Every field of a job."""
    return {field.name: getattr(job, field.name) for field in attrs.fields(Job)}


@contextmanager
def instructions(counts: list[int]) -> Iterator[None]:
    """Count the interpreter's instructions that functions run meanwhile."""
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            counts[0] += 1
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_what_is_not_given_has_its_default() -> None:
    """A plain job has all fields, as the signature says, and nothing to send."""
    job = Job("/a.php")
    for name, parameter in inspect.signature(Job).parameters.items():
        assert name == "script" or getattr(job, name) is parameter.default
    assert [getattr(job, name) for name in SENT] == [
        None, "", {}, b"", None, False, True, "/a.php", None, Role.RESPONDER,
    ]  # fmt: skip
    assert vars(job) == {"script": "/a.php"}


@pytest.mark.parametrize("name", ["query_string", "plain", "path", "body", "self_", "zzz"])
def test_unknown_argument(name: str) -> None:
    """What a job finds out by itself cannot be given, nor what it does not know."""
    with pytest.raises(TypeError, match=rf"Job.__init__\(\) got an unexpected keyword argument '{name}'"):
        Job("/a.php", **{name: None})  # type: ignore[arg-type]


def test_arguments() -> None:
    """The script may be named, and only the script may be given without a name."""
    assert Job(script="/a.php").script == "/a.php"
    with pytest.raises(TypeError, match="positional"):
        Job("/a.php", "/b")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'script'"):
        Job()  # type: ignore[call-arg]


@pytest.mark.parametrize("made", [Job("/a.php"), Job("/a.php", query="a")], ids=["plain", "with a query"])
def test_frozen(made: Job) -> None:
    """No field of a job can be changed, set or removed."""
    for name in ("script", "uri", "query_string", "anything"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(made, name, "x")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(made, name)


def test_identity() -> None:
    """Two jobs are never equal, and one can be a key and be watched."""
    first, second = Job[int]("/a.php", tag=1), Job[int]("/a.php", tag=1)
    assert first != second
    assert len({first, second, first}) == 2
    assert weakref.ref(first)() is first


def test_repr() -> None:
    """All arguments are shown but bodies, headers and parameters."""
    assert repr(Job("/a.php", query={"a": 1}, timeout=None, content=b"x", headers={"A": "b"}, tag=7)) == (
        "Job(script='/a.php', uri=None, method=None, query={'a': 1}, content_length=None, priority=0, timeout=None, "
        "queue_timeout=UNSET, run_timeout=UNSET, idempotent=False, finishes_early=True, success_mark=None, "
        "role=<Role.RESPONDER: 1>, tag=7)"
    )


def pickled(job: Job) -> Job:
    """Return a job that was pickled."""
    found: Job = pickle.loads(pickle.dumps(job))
    return found


def evolved(job: Job) -> Job:
    """Return a job that attrs made of another's arguments."""
    return attrs.evolve(job)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled, evolved], ids=lambda again: again.__name__)
@pytest.mark.parametrize("arguments", [{}, FULL, {"uri": "/a%20b?x=1"}], ids=["plain", "full", "uri"])
def test_copy_is_the_same(again: Callable[[Job], Job], arguments: dict[str, Any]) -> None:
    """However a job is copied, the copy is another and has the same fields."""
    job = Job("/a.php", **arguments)
    found = again(job)
    assert found is not job
    assert fields(found) == fields(job)
    assert found.timeout is job.timeout


def test_evolved_job_is_checked() -> None:
    """A copy with changes is a job like any other: what it sends is decided anew, and refused if it cannot be sent."""
    job = Job("/a.php", query="a=1", tag=1)
    assert attrs.evolve(job, query="b=2").query_string == "b=2"
    assert attrs.evolve(job, query=None).plain
    with pytest.raises(InvalidJob, match="uri= and query= are both given"):
        attrs.evolve(job, uri="/x")


def test_default_that_is_given_is_no_argument() -> None:
    """Saying what holds anyway leaves a job as plain as before."""
    defaults = {name: found.default for name, found in inspect.signature(Job).parameters.items() if name != "script"}
    assert Job("/a.php", **defaults).plain
    assert Job("/a.php", timeout=UNSET, role=Role.RESPONDER, priority=5, tag=1).plain
    assert not Job("/a.php", role=Role.AUTHORIZER).plain


@pytest.mark.parametrize(
    ("arguments", "most"),
    [({}, 60), ({"tag": 1}, 110), ({"query": {"a": 1}}, 260), ({"json": {"id": 7}}, 180)],
    ids=["plain", "tag", "query", "json"],
)
def test_cost(arguments: dict[str, Any], most: int) -> None:
    """A job costs few instructions, and an argument adds few: it is on the way of every run."""
    Job("/a.php", **arguments)
    counts = [0]
    with instructions(counts):
        Job("/a.php", **arguments)
    assert 0 < counts[0] <= most


# what is encoded in a shorter way is the same

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(VALUES)
def test_json_is_that_of_json_dumps(value: object) -> None:
    """A body is what json.dumps() writes, and what that refuses is refused."""
    try:
        expected = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        with pytest.raises(InvalidJob):
            encode_json(value)
    else:
        assert encode_json(value) == expected


def test_json_that_contains_itself() -> None:
    """Circles are refused, with what is wrong."""
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(InvalidJob, match="Circular"):
        encode_json({"a": circle})
    assert encode_json({"a": 1}) == b'{"a":1}'


@given(st.dictionaries(st.text("ab_ ~+[é0", min_size=1), st.text("ab_ ~+%&=é0.-") | st.integers() | st.booleans()))
def test_short_way_of_a_query_is_the_long_way(pairs: dict[str, Any]) -> None:
    """Names and values that stand as they are read the same as those that do not, given as bytes."""
    as_bytes = {
        name: str(int(value)).encode() if isinstance(value, int) else value.encode() for name, value in pairs.items()
    }
    assert encode_pairs("query", pairs) == encode_pairs("query", as_bytes)
