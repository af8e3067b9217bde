"""Settings in the syntax that php.ini and PHP-FPM's configuration files share."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fcgi_async.errors import ConfigurationError

__all__ = ("format_section", "format_setting")

NAME = re.compile(r"[A-Za-z0-9_.-]+(\[[^\]\[=;\"'\x00-\x1f]+\])?")
BARE_VALUE = re.compile(r"[A-Za-z0-9_./:@-]*")
LINE_BREAKERS = re.compile(r"[\x00\r\n]")


def format_setting(name: str, value: str) -> str:
    """Write one setting so that PHP reads back exactly this value.

    Plain words are not quoted, because to PHP only unquoted words are booleans (`on`, `no`) and constants (`E_ALL`).
    Everything else is quoted, so that `;`, `$`, `"` and the like have no special meaning.

    Args:
        name: such as `pm.max_requests`, `php_value[memory_limit]` or `memory_limit`.
        value: any text of one line.

    Raises:
        ConfigurationError: the name is invalid, or the value has a line break or NUL, which could add other settings.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not the name of a PHP or PHP-FPM setting, such as memory_limit")
    if not isinstance(value, str):
        raise ConfigurationError(f"the value of the setting {name} must be a string, not {value!r}")
    if LINE_BREAKERS.search(value):
        raise ConfigurationError(f"the value of the setting {name} has a line break or NUL in it: {value!r}; remove it")
    if BARE_VALUE.fullmatch(value):
        return f"{name}={value}"
    if "'" not in value:
        return f"{name}='{value}'"
    escaped = re.sub(r'[\\"$]', r"\\\g<0>", value)
    return f'{name}="{escaped}"'


def format_section(title: str, settings: Mapping[str, str]) -> str:
    """Write one section of a PHP-FPM configuration file.

    Raises:
        ConfigurationError: as for `format_setting`.
    """
    return "\n".join([f"[{title}]", *(format_setting(name, value) for name, value in settings.items()), ""])
