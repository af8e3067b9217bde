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
    """Adds `__init__` to the attrs classes that users make; those with private parameters are made for them."""

    def on_package(self, *, pkg: Module, **_: object) -> None:
        """Look through the whole package."""
        for found in _classes(pkg):
            made = getattr(importlib.import_module(found.module.path), found.name)
            if attrs.has(made) and "__init__" not in found.members and not issubclass(made, BaseException):
                fields = [field for field in attrs.fields(made) if field.init]
                if not any(field.name.startswith("_") for field in fields):
                    found.set_member("__init__", _init(found, made, {field.name: field for field in fields}))


def _classes(owner: Object) -> Iterator[Class]:
    for member in owner.members.values():
        if isinstance(member, Class):
            yield member
        elif isinstance(member, Module):
            yield from _classes(member)


def _init(found: Class, made: type, fields: dict[str, attrs.Attribute[object]]) -> Function:
    parameters = [Parameter("self", kind=ParameterKind.positional_or_keyword)]
    for name, parameter in inspect.signature(made).parameters.items():
        field, known = fields[name], found.all_members.get(name)
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
