"""Make a job of a message: the forms of a message, and its name."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, get_args

import attrs

from fcgi_async.errors import ConfigurationError, FastCGIError
from fcgi_async.jobs.record import NewJob
from fcgi_async.jobs.task import Task

__all__ = ("FORMS", "Form", "MakeJob", "Message", "Reader", "Unusable")

# the forms of a message: a job's description, the data for the only task, or the output of Symfony's JSON serializer
Form = Literal["job", "data", "symfony"]
FORMS: Final[tuple[Form, ...]] = get_args(Form)
# a task, its data, delay, priority, unique, unique_for and id, as for `Jobs.enqueue()`
MakeJob = Callable[[Task, object, float, int | None, str | None, float, str | None], NewJob]

_FIELDS: Final = frozenset({"task", "data", "delay", "priority", "unique", "unique_for", "id"})
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,90}")
_SERIALIZED: Final = re.compile(rb's:(\d{1,10}):"(.*)";', re.DOTALL)


class Unusable(Exception):
    """A message can never become a job; the text tells why."""


@attrs.frozen(kw_only=True)
class Message:
    """A message that a broker has delivered.

    Attributes:
        key: its name, the same at each delivery.
        body: its content.
        headers: its headers.
    """

    key: str
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def id(self) -> str:
        """The id of the job that it becomes."""
        if _NAME.fullmatch(self.key):
            return f"message:{self.key}"
        return f"message:{hashlib.sha256(self.key.encode('utf-8', 'surrogateescape')).hexdigest()}"


class Reader:
    """Makes jobs of messages.

    Args:
        tasks: the tasks whose jobs messages may put.
        form: the form of the messages.
        types: for Symfony's, the task's name by the class of the message, such as {"App\\\\Message\\\\Mail": "mail"}.
        make: makes a job to be put.

    Raises:
        ConfigurationError: there is no task; or there are several tasks, but messages are only data; or a type has an
            unknown task.
    """

    def __init__(self, tasks: Iterable[Task], form: Form, types: Mapping[str, str], make: MakeJob) -> None:
        self._tasks = {task.name: task for task in tasks}
        self._form, self._types, self._make = form, types, make
        if form not in FORMS:
            raise ConfigurationError(f"form={form!r} must be one of {', '.join(FORMS)}")
        if not self._tasks:
            raise ConfigurationError(
                "name the tasks whose jobs may be put: a message chooses one of them, and no other"
            )
        if form == "data" and len(self._tasks) != 1:
            raise ConfigurationError('with form="data" a message does not say its task: name exactly one')
        if form == "symfony" and not types:
            raise ConfigurationError('with form="symfony" name the task of each class of messages')
        for name in types.values():
            if name not in self._tasks:
                raise ConfigurationError(f"types names the task {name!r}, which is not among tasks")

    def read(self, message: Message) -> NewJob:
        """Return the job that a message becomes.

        Raises:
            Unusable: it cannot become a job.
        """
        try:
            return self._read(message)
        except (FastCGIError, ValueError, RecursionError) as error:
            raise Unusable(str(error)) from error

    def described(self, value: object, id: str | None = None) -> NewJob:
        """Return the job for a parsed description.

        Args:
            value: the parsed description.
            id: the job's id, if the description has none.

        Raises:
            Unusable: it cannot become a job.
        """
        try:
            return self._described(value, id)
        except (FastCGIError, ValueError, RecursionError) as error:
            raise Unusable(str(error)) from error

    def _read(self, message: Message) -> NewJob:
        if self._form == "symfony":
            return self._read_symfony(message)
        value = _parse(message.body)
        if self._form == "job":
            return self._described(value, message.id)
        [task] = self._tasks.values()
        return self._make(task, value, 0.0, None, None, 0.0, message.id)

    def _described(self, value: object, id: str | None) -> NewJob:
        if not isinstance(value, dict):
            raise Unusable('the message is not a JSON object such as {"task": "mail", "data": {...}}')
        if unknown := value.keys() - _FIELDS:
            raise Unusable(f"the message has {', '.join(sorted(unknown))}; a job has {', '.join(sorted(_FIELDS))}")
        task = self._task(value.get("task"))
        own = value.get("id")
        if own is not None and not isinstance(own, str):
            raise Unusable("the message's id is not text")
        return self._make(
            task,
            value.get("data"),
            value.get("delay", 0.0),
            value.get("priority"),
            value.get("unique"),
            value.get("unique_for", 0.0),
            own or id,
        )

    def _read_symfony(self, message: Message) -> NewJob:
        body, headers = message.body, dict(message.headers)
        if "type" not in headers:
            # Messenger's transport for Redis has body and headers in one value
            value = _parse(_unwrapped(body))
            if not isinstance(value, dict) or not isinstance(value.get("body"), str):
                raise Unusable("the message has no body as Symfony's Messenger writes it")
            body, found = value["body"].encode(), value.get("headers")
            headers |= {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else {}
        kind = headers.get("type")
        if kind is None:
            raise Unusable(
                "the message names no type: have Messenger write JSON (messenger.transport.symfony_serializer)"
            )
        task = self._types.get(kind)
        if task is None:
            raise Unusable(f"no task is named for messages of the type {kind!r}")
        return self._make(self._task(task), _parse(body), 0.0, None, None, 0.0, message.id)

    def _task(self, name: object) -> Task:
        task = self._tasks.get(name) if isinstance(name, str) else None
        if task is None:
            raise Unusable(f"the message is for the task {name!r}; allowed are {', '.join(sorted(self._tasks))}")
        return task


def _unwrapped(body: bytes) -> bytes:
    """Return the text that PHP's serialize() has wrapped, as phpredis does for Messenger by default."""
    found = _SERIALIZED.fullmatch(body)
    return found[2] if found and int(found[1]) == len(found[2]) else body


def _parse(body: bytes) -> object:
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"the message is not JSON: {error}") from error
    return value
