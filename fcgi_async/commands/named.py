"""Load objects that a command line names as `module:name`."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
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
    except Exception as error:
        raise UsageError(f"{option} {name}: {_why_not(module, attribute, error)}") from error
    value: object = getattr(found, attribute, None)
    if value is None:
        nearest = get_close_matches(attribute, vars(found), n=1)
        meant = f"did you mean {module}:{nearest[0]}?" if nearest else f"define it in {found.__file__}"
        raise UsageError(f"{option} {name}: {module} has no {attribute}; {meant}")
    return value


def _why_not(module: str, attribute: str, error: Exception) -> str:
    """Return why a module cannot be imported, and what to do."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None and f"{module}.".startswith(f"{error.name}."):
        if module.endswith(".py"):
            return f"write a module's name, not a file's: {module[:-3].replace('/', '.')}:{attribute}"
        return f"{error}; run the command in the folder that has it, or name that folder in PYTHONPATH"
    if isinstance(error, ModuleNotFoundError):
        return f"{error}; install it in the environment of this command"
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}: {type(error).__name__}: {error}"


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
