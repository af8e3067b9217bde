"""What a message has to be to become a job."""

from __future__ import annotations

import json

import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs, Task
from fcgi_async.jobs.intake.message import Form, Message, Reader, Unusable

MAIL, REPORT = Task("mail", "/mail.php", priority=3), Task("report", "/report.php")
CLASS = "App\\Message\\Mail"


def reader(form: Form = "job", *tasks: Task, types: dict[str, str] | None = None) -> Reader:
    return Reader(tasks or (MAIL, REPORT), form, types or {}, Jobs("sqlite:///nowhere", payload_limit=1000)._new)


def message(body: object, key: str = "jobs:7", **headers: str) -> Message:
    return Message(key=key, body=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)


def test_a_description() -> None:
    """A message says what `enqueue()` is given; what it leaves out is the task's."""
    full = {
        "task": "mail",
        "data": {"to": "a"},
        "delay": 60,
        "priority": 5,
        "unique": "k",
        "unique_for": 9,
        "id": "a-1",
    }
    job = reader().read(message(full))
    assert (job.task, json.loads(job.data), job.delay, job.priority) == ("mail", {"to": "a"}, 60, 5)
    assert (job.unique, job.unique_for, job.id) == ("k", 9, "a-1")
    job = reader().read(message({"task": "mail"}))
    assert (job.data, job.delay, job.priority, job.unique, job.id) == ("null", 0, 3, None, "message:jobs:7")


def test_the_data_of_the_only_task() -> None:
    """With form="data" the whole message is the data."""
    job = reader("data", MAIL).read(message([1, {"task": "report"}]))
    assert (job.task, json.loads(job.data)) == ("mail", [1, {"task": "report"}])


def test_messages_of_symfony() -> None:
    """Their class decides about the task; body and headers come beside each other, or in one."""
    types = {CLASS: "mail"}
    beside = message({"to": "a"}, type=CLASS)
    in_one = message({"body": '{"to":"a"}', "headers": {"type": CLASS, "Content-Type": "application/json"}})
    wrapped = message(b's:%d:"%s";' % (len(in_one.body), in_one.body))
    for one in (beside, in_one, wrapped):
        job = reader("symfony", types=types).read(one)
        assert (job.task, json.loads(job.data)) == ("mail", {"to": "a"})


@pytest.mark.parametrize("key", ["x" * 200, "a b", "a&route=admin", "a\nb", "\udc80", ""])
def test_an_invalid_id(key: str) -> None:
    """It is hashed: the same message is the same job, another is another."""
    job = reader().read(message({"task": "mail"}, key))
    assert job.id == reader().read(message({"task": "mail"}, key)).id
    assert job.id != reader().read(message({"task": "mail"}, f"{key}x")).id
    assert len(job.id) <= 100


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "JSON object"),
        ({}, "None"),
        ({"task": "other"}, "'other'; allowed are mail, report"),
        ({"task": ["mail"]}, "allowed are"),
        ({"task": "mail", "script": "/etc/passwd"}, "script"),
        ({"task": "mail", "delay": -1}, "delay"),
        ({"task": "mail", "delay": "60"}, "delay"),
        ({"task": "mail", "priority": 1.5}, "priority"),
        ({"task": "mail", "unique": ""}, "unique"),
        ({"task": "mail", "unique_for": "x"}, "unique_for"),
        ({"task": "mail", "id": "x&y"}, "id"),
        ({"task": "mail", "id": 7}, "id"),
        ({"task": "mail", "data": "x" * 2000}, "payload_limit"),
        (b'{"task": "mail", "data": NaN}', "JSON"),
    ],
)
def test_an_invalid_message(body: object, said: str) -> None:
    """It is refused, and the reason names what is wrong."""
    with pytest.raises(Unusable, match=said):
        reader().read(message(body))


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        ({"body": "{}", "headers": {}}, {}, "names no type"),
        ({"body": "{}", "headers": {"type": "App\\Other"}}, {}, "App"),
        ({"body": 'O:3:"Foo":0:{}', "headers": {"type": CLASS}}, {}, "not JSON"),
        ({"headers": {"type": CLASS}}, {}, "no body"),
        (b"x", {"type": CLASS}, "not JSON"),
    ],
)
def test_invalid_messages_of_symfony(body: object, headers: dict[str, str], said: str) -> None:
    """PHP's own serialization is not read, and a class without a task is refused."""
    with pytest.raises(Unusable, match=said):
        reader("symfony", types={CLASS: "mail"}).read(message(body, **headers))


def test_invalid_settings() -> None:
    """What would refuse every message is refused at once."""
    for form, tasks, types, said in (
        ("data", (MAIL, REPORT), {}, "exactly one"),
        ("symfony", (MAIL,), {}, "class"),
        ("symfony", (MAIL,), {CLASS: "other"}, "other"),
        ("yaml", (MAIL,), {}, "one of job, data, symfony"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            reader(form, *tasks, types=types)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="name the tasks"):
        Reader((), "job", {}, Jobs("sqlite:///nowhere")._new)
