"""The written form of a job: what Job.dump() writes and Job.load() takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcgi_async.errors import InvalidJob
from fcgi_async.job.job import Job
from fcgi_async.job.settings import UNSET
from fcgi_async.wire.spec import Role
from tests.ids import readable

KEPT = ("script", "uri", "method", "priority", "timeout", "queue_timeout", "run_timeout", "idempotent",
        "finishes_early", "success_mark", "role", "tag")  # fmt: skip


def request(job: Job) -> dict[str, object]:
    """What decides the request of a job."""
    content_type = job.header_params.get("CONTENT_TYPE", job.content_type)
    headers = {name: value for name, value in job.header_params.items() if name != "CONTENT_TYPE"}
    return {
        "content_type": content_type,
        "headers": headers,
        "params": job.params or {},
        **{name: getattr(job, name) for name in ("query_string", "path", "body", "has_body", *KEPT)},
    }


JOBS: dict[str, Job] = {
    "plain": Job("/a.php"),
    "relative, not ASCII": Job("a/ü\udcff.php"),
    "uri": Job("/a.php", uri="/orders/7?x=1"),
    "query": Job("/a.php", query={"a": [1, "x y"], "b": None}),
    "empty query": Job("/a.php", query={}),
    "method": Job("/a.php", method="delete"),
    "content": Job("/a.php", content=bytes(range(256))),
    "empty content": Job("/a.php", content=b""),
    "typed content": Job("/a.php", content=b"<a/>", headers={"content-type": "text/xml", "X-A": "1"}),
    "json": Job("/a.php", json={"é": [1]}),
    "json with a type of its own": Job("/a.php", json=1, headers=[("Content-Type", "application/ld+json")]),
    "form": Job("/a.php", form={"a": 1}),
    "files": Job("/a.php", files={"f": ("a.txt", b"text")}, form={"b": 2}),
    "headers that repeat": Job("/a.php", headers=[("Cookie", "a=1"), ("cookie", "b=2"), ("X-A", "\udcff")]),
    "a type without a body": Job("/a.php", headers={"Content-Type": "a/b"}),
    "params": Job("/a.php", params={"A": "1", "HTTP_X": ""}),
    "settings": Job(
        "/a.php", priority=-3, timeout=None, queue_timeout=0, run_timeout=1.5, idempotent=True, finishes_early=False,
        success_mark="done\n",
    ),
    "authorizer": Job("/a.php", role=Role.AUTHORIZER),
    "tag": Job("/a.php", tag={"id": [1, None, "x"]}),
}  # fmt: skip


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_written_job_is_the_same(job: Job) -> None:
    """A job that went through JSON sends the same request with the same settings, and is written as before."""
    written = job.dump()
    again = Job.load(json.loads(json.dumps(written, allow_nan=False)))
    assert request(again) == request(job)
    assert again.dump() == written
    assert attrs.evolve(again, priority=9).dump() == written | {"priority": 9}


def test_written_form() -> None:
    """The keys are those of the arguments; defaults are left out."""
    job = Job(
        "/a.php", query={"a": 1}, json={"id": 7}, headers={"X-A": "1"}, params={"B": "2"}, timeout=None, run_timeout=5
    )
    assert Job("/a.php").dump() == {"script": "/a.php"}
    assert job.dump() == {
        "script": "/a.php",
        "query": "a=1",
        "headers": [["X-A", "1"]],
        "params": {"B": "2"},
        "content_type": "application/json",
        "body": "eyJpZCI6N30=",
        "timeout": None,
        "run_timeout": 5,
    }


def test_what_is_written_is_a_copy() -> None:
    """Changing a written job changes no other, nor the tag of one that was loaded."""
    tag = {"a": [1]}
    job = Job("/a.php", tag=tag, params={"A": "1"})
    written: Any = job.dump()
    loaded = Job.load(written)
    written["tag"]["a"].append(2)
    written["params"]["A"] = "2"
    assert (job.tag, loaded.tag, job.params) == ({"a": [1]}, {"a": [1]}, {"A": "1"})


def test_no_limit_is_null() -> None:
    """A deadline without end is none, since JSON has no infinity; one that was not given stays the dispatcher's."""
    again = Job.load(Job("/a.php", timeout=float("inf")).dump())
    assert again.timeout is None
    assert again.run_timeout is UNSET


async def parts() -> AsyncIterator[bytes]:
    """A body in parts."""
    yield b"part"


@pytest.mark.parametrize("content", [parts()], ids=["iterable"])
def test_stream_is_refused(content: AsyncIterator[bytes]) -> None:
    """A body that is read later cannot be written now."""
    with pytest.raises(InvalidJob, match="the job's body is streamed"):
        Job("/a.php", content=content, content_length=4).dump()


@pytest.mark.parametrize("tag", [object(), b"x", {1, 2}, float("nan"), {"a": object()}, {(1, 2): 3}], ids=readable)
def test_tag_is_refused(tag: object) -> None:
    """A tag that JSON has no form for is refused; any other job may have it."""
    with pytest.raises(InvalidJob, match="the job's tag cannot be expressed in JSON"):
        Job("/a.php", tag=tag).dump()
    with pytest.raises(InvalidJob, match="the job's tag cannot be expressed in JSON"):
        Job.load({"script": "/a.php", "tag": tag})


REFUSED: list[tuple[Any, str]] = [
    (None, "a written job must be a dict, not NoneType"),
    ([["script", "/a.php"]], "a written job must be a dict, not list"),
    ({}, "the written job has no script"),
    ({"script": None}, "the written job's script is NoneType, not str"),
    ({"script": ["/a.php"]}, "the written job's script is list, not str"),
    ({"script": ""}, "script= is empty"),
    ({"script": "/a\0.php"}, "script has a NUL"),
    ({1: "x"}, "unknown key 1; it may come from a later version"),
    ({"content": "x"}, "unknown key 'content'"),
    ({"json": {}}, "unknown key 'json'"),
    ({"plain": True}, "unknown key 'plain'"),
    ({"__class__": "x"}, "unknown key '__class__'"),
    ({"uri": 7}, "the written job's uri is int, not str"),
    ({"uri": None}, "the written job's uri is NoneType, not str"),
    ({"uri": "orders"}, "must start with /"),
    ({"uri": "/", "query": "a"}, "uri= and query= are both given"),
    ({"query": {"a": 1}}, "the written job's query is dict, not str"),
    ({"query": "a\0"}, "query has a NUL"),
    ({"method": "GET /"}, "is not a request method"),
    ({"headers": {"A": "b"}}, "the written job's headers is dict, not list or tuple"),
    ({"headers": [["A"]]}, "headers must be pairs of two strings"),
    ({"headers": ["ab"]}, "headers must be pairs of two strings"),
    ({"headers": [["A", 1]]}, "headers must be pairs of two strings"),
    ({"headers": [["A", "1\r\nB: 2"]]}, "has a line break"),
    ({"headers": [["Content-Length", "1"]]}, "do not set Content-Length"),
    ({"headers": [["Content-Type", "a/b"]], "content_type": "a/b"}, "'Content-Type' is given twice"),
    ({"content_type": "a/b\n"}, "has a line break"),
    ({"content_type": 7}, "the written job's content_type is int, not str"),
    ({"params": [["A", "1"]]}, "the written job's params is list, not dict"),
    ({"params": {"A": 1}}, r"params\['A'\] must be a string, not int"),
    ({"params": {"SCRIPT_FILENAME": "/b.php"}}, "would be sent twice"),
    ({"body": b"x"}, "the written job's body is bytes, not str"),
    ({"body": "x"}, "the written job's body is not base64"),
    ({"body": "YQ==\n"}, "the written job's body is not base64"),
    ({"body": "é"}, "the written job's body is not base64"),
    ({"priority": "1"}, "the written job's priority is str, not int"),
    ({"priority": True}, "the written job's priority is bool, not int"),
    ({"priority": 1.0}, "the written job's priority is float, not int"),
    ({"timeout": "1"}, "the written job's timeout is str, not int or float or null"),
    ({"timeout": True}, "the written job's timeout is bool"),
    ({"queue_timeout": -1}, "queue_timeout must be a number of seconds of at least 0"),
    ({"run_timeout": float("nan")}, "run_timeout must be a number of seconds of at least 0"),
    ({"idempotent": 1}, "the written job's idempotent is int, not bool"),
    ({"finishes_early": None}, "the written job's finishes_early is NoneType, not bool"),
    ({"success_mark": " "}, "success_mark= is blank"),
    ({"role": 1}, "the written job's role is int, not str"),
    ({"role": "NOBODY"}, "the written job's role is 'NOBODY', not one of RESPONDER, AUTHORIZER, FILTER"),
    ({"role": "FILTER"}, "role=Role.FILTER needs a second stream"),
    ({"role": "AUTHORIZER", "body": ""}, "role=Role.AUTHORIZER takes no body"),
]


@pytest.mark.parametrize(("written", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_hostile_dict_is_refused(written: Any, message: str) -> None:
    """What is no written job, or could never be sent, is refused with what is wrong."""
    if isinstance(written, dict) and written and "script" not in written:
        written = {"script": "/a.php"} | written
    with pytest.raises(InvalidJob, match=message):
        Job.load(written)


KEYS = st.sampled_from(["script", "uri", "method", "query", "headers", "params", "body", "content_type", "priority",
                        "timeout", "idempotent", "finishes_early", "success_mark", "role", "tag", "x"])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["/a", "RESPONDER", "YQ=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, VALUES) | VALUES, st.booleans())
def test_nothing_else_comes_of_a_hostile_dict(written: Any, complete: bool) -> None:
    """Whatever JSON holds is a job, which is written as it was read, or InvalidJob."""
    if complete and isinstance(written, dict):
        written = {"script": "/a.php"} | written
    try:
        job = Job.load(written)
    except InvalidJob:
        return
    assert Job.load(job.dump()).dump() == job.dump()
