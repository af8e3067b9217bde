"""Gives classes that attrs completes their signatures, which stand nowhere in their source."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from enum import Enum

import attrs
from griffe import Class, Extension, Function, Module, Object, Parameter, ParameterKind, Parameters

from fcgi_async import UNSET

__all__ = ("AttrsSignatures",)

_KINDS: dict[object, ParameterKind] = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: ParameterKind.keyword_only,
}


class AttrsSignatures(Extension):
    """Adds `__init__` to the attrs classes whose docstrings have arguments; others are not made by users."""

    def on_package(self, *, pkg: Module, **_: object) -> None:
        """Look through the whole package."""
        for found in _classes(pkg):
            made = getattr(importlib.import_module(found.module.path), found.name)
            documented = found.docstring is not None and "\nArgs:" in found.docstring.value
            if documented and attrs.has(made) and "__init__" not in found.members:
                found.set_member("__init__", _init(found, made))


def _classes(owner: Object) -> Iterator[Class]:
    for member in owner.members.values():
        if isinstance(member, Class):
            yield member
        elif isinstance(member, Module):
            yield from _classes(member)


def _init(found: Class, made: type) -> Function:
    fields = {field.alias: field for field in attrs.fields(made)}
    parameters = [Parameter("self", kind=ParameterKind.positional_or_keyword)]
    for name, parameter in inspect.signature(made).parameters.items():
        field = fields[name]
        known = found.all_members.get(field.name)
        annotation = parameter.annotation if field.converter is not None else getattr(known, "annotation", None)
        parameters.append(
            Parameter(
                name,
                annotation=annotation if annotation is not inspect.Parameter.empty else None,
                kind=_KINDS[parameter.kind],
                default=_default(field.default),
            )
        )
    init = Function("__init__", parameters=Parameters(*parameters), returns="None", parent=found)
    init.labels = {"attrs"}
    return init


def _default(value: object) -> str | None:
    if value is attrs.NOTHING:
        return None
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]  # a class, which its stub hides
        value = value.factory()  # type: ignore[attr-defined]
    if attrs.has(type(value)) and value == type(value)():
        return f"{type(value).__name__}()"
    if isinstance(value, Enum) and value is not UNSET:
        return f"{type(value).__name__}.{value.name}"
    return repr(value)
