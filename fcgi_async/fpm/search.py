"""Where distributions keep FPM's configuration."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.config import PoolConfig, read_pool_config

__all__ = ("find_pool_config",)

_ROOT: Final = Path("/")
# Debian and Ubuntu have a folder for each version, of which the newest is meant
_VERSIONED: Final = "etc/php/*/fpm/php-fpm.conf"
_OTHERS: Final = (
    # Red Hat, Fedora
    "etc/php-fpm.conf",
    # Remi's packages for them
    "etc/opt/remi/php*/php-fpm.conf",
    # Alpine
    "etc/php*/php-fpm.conf",
    # the image of Docker, and what is built from its sources
    "usr/local/etc/php-fpm.conf",
)
_NUMBER = re.compile(r"\d+")


def find_pool_config(
    pool: str | None = None,
    *,
    prefix: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Path, PoolConfig]:
    """Read the configuration of a pool from where distributions keep it; the arguments are `read_pool_config`'s.

    Returns:
        FPM's main file, and what it says of the pool.

    Raises:
        ConfigurationError: no file has such a pool, or several do; says what was looked at.
    """
    return _search(_ROOT, pool, prefix, environ)


@attrs.define(eq=False)
class _Looked:
    """What was looked at, and what came of it."""

    found: list[tuple[Path, PoolConfig]] = attrs.field(factory=list)
    errors: list[ConfigurationError] = attrs.field(factory=list)


def _search(
    root: Path, pool: str | None, prefix: str | PathLike[str] | None, environ: Mapping[str, str] | None
) -> tuple[Path, PoolConfig]:
    looked = _Looked()
    for alternatives in _candidates(root):
        for path in alternatives:
            try:
                config = read_pool_config(path, pool, prefix=prefix, environ=environ)
            except ConfigurationError as error:
                looked.errors.append(error)
            else:
                looked.found.append((path, config))
                break
    if len(looked.found) == 1:
        return looked.found[0]
    name = "a pool" if pool is None else f"the pool {pool!r}"
    if looked.found:
        paths = ", ".join(f"{path} (pool {config.name!r})" for path, config in looked.found)
        raise ConfigurationError(f"several configurations of FPM have {name}: {paths}; give path=, one of them")
    reasons = "; ".join(error.message for error in looked.errors)
    places = ", ".join(f"/{place}" for place in (_VERSIONED, *_OTHERS))
    seen = f"there is none that has {name} ({reasons})" if reasons else "there is none"
    raise ConfigurationError(
        f"FPM's configuration was looked for in {places}, and {seen}; give path=, FPM's main file or a file with what "
        "`php-fpm -tt` prints"
    )


def _candidates(root: Path) -> Iterator[Sequence[Path]]:
    """Yield files of which the first that has the pool is meant."""
    yield sorted(_glob(root, _VERSIONED), key=_version, reverse=True)
    seen: set[Path] = set()
    for pattern in _OTHERS:
        for path in sorted(_glob(root, pattern)):
            if (real := path.resolve()) not in seen:
                seen.add(real)
                yield [path]


def _glob(root: Path, pattern: str) -> list[Path]:
    # unlike pathlib's this passes over folders that this user may not enter
    return [Path(name) for name in glob.glob(os.path.join(glob.escape(str(root)), pattern)) if os.path.isfile(name)]


def _version(path: Path) -> list[int]:
    return [int(number) for number in _NUMBER.findall(path.parent.parent.name)]
