"""Find FPM's configuration in the places where distributions keep it."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.config import PoolConfig, pool_names, read_pool_config
from fcgi_async.net.address import Address, AddressFamily

__all__ = ("find_pool_at", "find_pool_config")

_ROOT: Final = Path("/")
# Debian and Ubuntu have a folder for each version; the newest is used
_VERSIONED: Final = "etc/php/*/fpm/php-fpm.conf"
_OTHERS: Final = (
    # Red Hat, Fedora
    "etc/php-fpm.conf",
    # Remi's packages for these
    "etc/opt/remi/php*/php-fpm.conf",
    # Alpine
    "etc/php*/php-fpm.conf",
    # the Docker image, and builds from source
    "usr/local/etc/php-fpm.conf",
)
_NUMBER = re.compile(r"\d+")


def find_pool_config(
    pool: str | None = None,
    *,
    prefix: str | PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Path, PoolConfig]:
    """Find and read the configuration of a pool; the arguments are those of `read_pool_config`.

    Returns:
        FPM's main file, and the pool's configuration.

    Raises:
        ConfigurationError: no file has such a pool, or several do; the error names the files that were read.
    """
    return _search(_ROOT, pool, prefix, environ)


def find_pool_at(address: Address) -> tuple[Path, PoolConfig] | None:
    """Return FPM's main file and the pool that listens at an address; None if no file has it, or several do."""
    return _search_at(_ROOT, address)


def _search_at(root: Path, address: Address) -> tuple[Path, PoolConfig] | None:
    found: list[tuple[Path, PoolConfig]] = []
    for path in (path for alternatives in _candidates(root) for path in alternatives):
        with suppress(ConfigurationError):
            for name in pool_names(path):
                with suppress(ConfigurationError):
                    config = read_pool_config(path, name)
                    if _place(config.listen) == _place(address):
                        found.append((path, config))
    return found[0] if len(found) == 1 else None


def _place(address: Address) -> str:
    """Return the same text for addresses that lead to the same socket."""
    if address.family is AddressFamily.UNIX:
        # Debian has /run/php/php-fpm.sock for the socket of one version
        return os.path.realpath(address.path)
    return str(address).replace("//localhost:", "//127.0.0.1:")


@attrs.define(eq=False)
class _Looked:
    """The files that were read, and the results."""

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
    """Yield files; the first one with the pool is used."""
    yield sorted(_glob(root, _VERSIONED), key=_version, reverse=True)
    seen: set[Path] = set()
    for pattern in _OTHERS:
        for path in sorted(_glob(root, pattern)):
            if (real := path.resolve()) not in seen:
                seen.add(real)
                yield [path]


def _glob(root: Path, pattern: str) -> list[Path]:
    # unlike pathlib's glob, this skips folders that this user may not enter
    return [Path(name) for name in glob.glob(os.path.join(glob.escape(str(root)), pattern)) if os.path.isfile(name)]


def _version(path: Path) -> list[int]:
    return [int(number) for number in _NUMBER.findall(path.parent.parent.name)]
