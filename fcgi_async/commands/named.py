"""Load objects that a command line names as `module:name`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TypeVar

from fcgi_async.commands.errors import UsageError
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.task import Task

__all__ = ("load_named", "load_schedules", "load_tasks")

_Loaded = TypeVar("_Loaded", Task, Cron)


def load_named(option: str, name: str, *, example: str) -> object:
    """Import a module, which may be in the current directory, and return its object `name`.

    Args:
        option: the option, such as "--tasks".
        name: the option's value.
        example: a valid value, for the error.

    Raises:
        UsageError: the value has another form, the module cannot be imported, or it has no such name.
    """
    module, colon, attribute = name.partition(":")
    if not module or not colon or not attribute:
        raise UsageError(f"{option} {name}: write MODULE:NAME, such as {example}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{option} {name}: {error}") from error
    value: object = getattr(found, attribute, None)
    if value is None:
        raise UsageError(f"{option} {name}: {module} has no {attribute}")
    return value


def load_tasks(name: str) -> list[Task]:
    """Return the tasks at `module:name`: a Task, a sequence of them, or a mapping to them.

    Raises:
        UsageError: there are none.
    """
    return _load("--tasks", name, Task)


def load_schedules(name: str) -> list[Cron]:
    """Return the schedules at `module:name`, in the same forms.

    Raises:
        UsageError: there are none.
    """
    return _load("--schedules", name, Cron)


def _load(option: str, name: str, kind: type[_Loaded]) -> list[_Loaded]:
    value = load_named(option, name, example=f"app.tasks:{option[2:].upper()}")
    if isinstance(value, Mapping):
        value = tuple(value.values())
    values: list[object] = [value] if isinstance(value, kind) else list(value) if isinstance(value, Iterable) else []
    loaded = [one for one in values if isinstance(one, kind)]
    if not loaded or len(loaded) < len(values):
        raise UsageError(f"{option} {name}: this is not a {kind.__name__}, nor a sequence of them")
    return loaded
