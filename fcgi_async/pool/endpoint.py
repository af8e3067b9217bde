"""The configuration of one FPM pool."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from typing import Literal, Self, TypedDict, Unpack

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.config import read_pool_config
from fcgi_async.fpm.search import find_pool_config
from fcgi_async.fpm.status import StatusPage
from fcgi_async.job.numbers import is_duration, is_whole
from fcgi_async.net.address import Address
from fcgi_async.pool.capacity import reserve_for_the_site, share_of
from fcgi_async.pool.frozen_mapping import FrozenMapping

__all__ = ("Endpoint", "KeepAlive")

logger = logging.getLogger("fcgi_async.pool")

_MIB = 1024 * 1024


# pairs may repeat a name
_Headers = Mapping[str, str] | Sequence[tuple[str, str]]


def _address(value: str | Address) -> Address:
    return value if isinstance(value, Address) else Address.parse(value)


def _status_page(value: str | Address | StatusPage | None) -> StatusPage | None:
    return value if value is None or isinstance(value, StatusPage) else StatusPage(value)


def _root(value: str | PathLike[str] | None) -> str | None:
    return fspath(value) if isinstance(value, PathLike) else value


def _is_absolute(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/") and "\0" not in path


def _params(value: Mapping[str, str]) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"Endpoint(params) must be a mapping of names to values, not {type(value).__name__}")
    return FrozenMapping(value)


def _headers(value: _Headers) -> Mapping[str, str] | tuple[tuple[str, str], ...]:
    if isinstance(value, Mapping):
        return FrozenMapping(value)
    given: object = value
    if isinstance(given, Sequence) and all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in given):
        return tuple((name, text) for name, text in given)
    raise ConfigurationError(
        f"Endpoint(headers) must be a mapping or a sequence of (name, value), not {type(value).__name__}"
    )


def _kept(value: Mapping[int, int]) -> Mapping[int, int]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"Endpoint(kept) must be a mapping of priorities to numbers of slots, such as {{10: 1}}; not {value!r}"
        )
    return FrozenMapping(value)


def _names(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigurationError(f"Endpoint(allow_params) must be a set of names, such as {{{value!r}}}")
    return frozenset(value)


@attrs.frozen
class KeepAlive:
    """How long a connection is kept after its job. A kept connection occupies one of FPM's workers even while it is
    idle.

    Args:
        idle: seconds that a connection is kept without a job; 0 keeps it only while a job is waiting for it.
        max_requests: most jobs that a connection serves; None for no limit.
    """

    idle: float = 1.0
    max_requests: int | None = None

    def __attrs_post_init__(self) -> None:
        if not is_duration(self.idle):
            raise ConfigurationError(f"KeepAlive(idle) must be a number of seconds, not {self.idle!r}")
        if self.max_requests is not None and not is_whole(self.max_requests):
            raise ConfigurationError(
                f"KeepAlive(max_requests) must be a whole number or None, not {self.max_requests!r}"
            )
        if self.idle < 0:
            raise ConfigurationError(
                f"KeepAlive(idle={self.idle}): seconds cannot be negative; 0 keeps no idle connection"
            )
        if self.max_requests is not None and self.max_requests < 1:
            raise ConfigurationError(
                f"KeepAlive(max_requests={self.max_requests}): give at least 1, or None for no limit"
            )


class EndpointSettings(TypedDict, total=False):
    """The arguments of `Endpoint` besides its address and its share."""

    max_children: int | None
    root: str | PathLike[str] | None
    params: Mapping[str, str]
    headers: Mapping[str, str] | Sequence[tuple[str, str]]
    keepalive: KeepAlive
    multiplex: Literal["auto", "never"]
    handshake: bool
    on_cancel: Literal["drain", "close"]
    drain_timeout: float
    drain_bytes: int
    linger: float | None
    connect_timeout: float
    reconnect_timeout: float
    kept: Mapping[int, int]
    status: StatusPage | str | Address | None
    allow_params: Iterable[str]


@attrs.frozen(kw_only=True)
class Endpoint:
    """One FPM pool.

    Args:
        address: `unix:///path.sock`, `unix://@abstract` or `tcp://host:port`; also a bare `/path.sock` or `host:port`.
        max_children: FPM's `pm.max_children` of that pool.
        reserve: how many of those workers are left to other clients of the pool.
        processes: how many processes like this one share the rest.
        root: the directory of scripts on FPM's side, str or path: a script whose name, absolute or relative to it,
            leads out of it is refused. Names are compared as text, without looking at FPM's files, and sent without any
            `..`; FPM follows a symbolic link below the root wherever it leads. The root limits which scripts jobs can
            name, not what the scripts then open.
        params: FastCGI parameters sent with every job.
        headers: request headers sent with every job, a mapping or a sequence of pairs.
        keepalive: how long connections are kept after their jobs.
        multiplex: "auto" runs many jobs on one connection if the peer reports that it can (PHP-FPM cannot); "never"
            runs one at a time.
        handshake: False for peers that do not answer GET_VALUES: one connection for each job, freed by END_REQUEST.
        on_cancel: "drain" reads on until the worker is free; "close" refuses the output, which ends a script at its
            next output, or at the one after that if it had written nothing.
        drain_timeout: seconds that a worker may take after its response, or after its caller has left, before the
            output is refused.
        drain_bytes: bytes of unwanted output after which the rest is refused.
        linger: seconds that a slot stays taken after its connection was closed under a script, unless the status page
            shows earlier that the script has ended; None for 5.
        connect_timeout: seconds for a TCP handshake.
        reconnect_timeout: seconds that an endpoint may be away before its waiting jobs fail, if it has answered before.
        kept: slots for jobs of a priority: `{10: 2}` keeps two for priority 10 and above. Jobs of lower priority may
            use the share less two, so a job of priority 10 need not wait for one of them to end. Several entries add
            up: with `{10: 1, 5: 1}`, jobs below 5 leave two slots, and jobs of 5 to 9 leave one.
        status: FPM's status page, or its address if its path is `/status`.
        allow_params: dangerous parameters to allow, such as `PHP_VALUE`; by default they are refused.

    Raises:
        ConfigurationError: a value is out of its range, or no worker is left.
    """

    address: Address = attrs.field(converter=_address, kw_only=False)
    max_children: int | None = None
    reserve: int = 0
    processes: int = 1
    root: str | None = attrs.field(default=None, converter=_root)
    # not shown: they may have credentials
    params: Mapping[str, str] = attrs.field(factory=dict, converter=_params, repr=False)
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = attrs.field(factory=dict, converter=_headers, repr=False)
    keepalive: KeepAlive = KeepAlive()
    multiplex: Literal["auto", "never"] = "auto"
    handshake: bool = True
    on_cancel: Literal["drain", "close"] = "drain"
    drain_timeout: float = 30.0
    drain_bytes: int = 16 * _MIB
    linger: float | None = None
    connect_timeout: float = 5.0
    reconnect_timeout: float = 30.0
    kept: Mapping[int, int] = attrs.field(factory=dict, converter=_kept)
    status: StatusPage | None = attrs.field(default=None, converter=_status_page)
    allow_params: frozenset[str] = attrs.field(default=frozenset(), converter=_names)

    def __attrs_post_init__(self) -> None:
        def require(holds: bool, what: str) -> None:
            if not holds:
                raise ConfigurationError(f"endpoint {self.address}: {what}", endpoint=str(self.address))

        for name in ("max_children", "reserve", "processes", "drain_bytes"):
            value: object = getattr(self, name)
            allowed = is_whole(value) or (value is None and name == "max_children")
            require(allowed, f"{name} must be a whole number, not {value!r}")
        for name in ("drain_timeout", "linger", "connect_timeout", "reconnect_timeout"):
            value = getattr(self, name)
            allowed = is_duration(value) or (value is None and name == "linger")
            require(allowed, f"{name} must be a number of seconds, not {value!r}")
        require(isinstance(self.keepalive, KeepAlive), f"keepalive must be a KeepAlive(...), not {self.keepalive!r}")
        require(isinstance(self.handshake, bool), f"handshake must be True or False, not {self.handshake!r}")
        require(
            self.max_children is None or self.max_children >= 1,
            f"max_children must be at least 1, not {self.max_children}; give pm.max_children of that pool",
        )
        require(self.reserve >= 0, f"reserve must be at least 0, not {self.reserve}")
        require(
            self.root is None or _is_absolute(self.root),
            f"root must be an absolute path on FPM's side, not {self.root!r}",
        )
        require(self.processes >= 1, f"processes must be at least 1, not {self.processes}")
        require(self.multiplex in ("auto", "never"), f'multiplex must be "auto" or "never", not {self.multiplex!r}')
        require(self.on_cancel in ("drain", "close"), f'on_cancel must be "drain" or "close", not {self.on_cancel!r}')
        for name in ("drain_timeout", "drain_bytes", "linger", "reconnect_timeout"):
            least = getattr(self, name)
            require(least is None or least >= 0, f"{name} must be at least 0, not {least}")
        require(self.connect_timeout > 0, f"connect_timeout must be more than 0, not {self.connect_timeout}")
        require(
            self.max_children is None or self.share >= 1,
            f"max_children={self.max_children} less reserve={self.reserve}, shared by {self.processes} process(es), "
            "leaves no worker; lower reserve or raise pm.max_children",
        )
        for priority, slots in self.kept.items():
            require(is_whole(priority), f"kept[{priority!r}]: a priority must be a whole number")
            require(is_whole(slots) and slots >= 0, f"kept[{priority}] must be a number of slots, not {slots!r}")
        if self.kept and self.max_children is not None:
            require(
                sum(self.kept.values()) < self.share,
                f"kept={self.kept!r} leaves no slot of {self.share} to jobs of every priority; keep fewer",
            )

    @classmethod
    def from_fpm_config(
        cls,
        path: str | PathLike[str] | None = None,
        pool: str | None = None,
        *,
        reserve: int | None = None,
        processes: int = 1,
        prefix: str | PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        **settings: Unpack[EndpointSettings],
    ) -> Self:
        """Return the endpoint that FPM's own configuration describes.

        It takes the address, `max_children` and the status page from there. Settings that break the dispatcher's
        promises are logged at WARNING, once for each call.

        Args:
            path: FPM's main file, the pool's own, or a file with the output of `php-fpm -tt`; None to look where
                Debian, Red Hat, Remi, Alpine and the Docker image keep the main file.
            pool: the name of the pool's section; None for www, or for the only pool.
            reserve: how many workers are left to other clients of the pool; None for a quarter, rounded up, because
                such a pool usually serves a site.
            processes: how many processes like this one share the rest.
            prefix: the folder that FPM's relative paths start from (`php-fpm -p`, or what it was built with, such as
                /usr/local); None to take the nearest folder above the file from which its includes are found.
            environ: FPM's environment, for values such as `${FPM_MAX_CHILDREN}`; None for the environment of this
                process.
            settings: any other arguments of `Endpoint`; they override the file.

        Raises:
            ConfigurationError: the configuration cannot be read or understood, has no such pool, or leaves no worker;
                without a path, no configuration with the pool was found, or several were.
        """
        if path is None:
            path, config = find_pool_config(pool, prefix=prefix, environ=environ)
        else:
            config = read_pool_config(path, pool, prefix=prefix, environ=environ)
        for warning in config.warnings():
            logger.warning("%s: %s", path, warning)
        if reserve is None:
            reserve = reserve_for_the_site(settings.get("max_children") or config.max_children, processes)
        found: EndpointSettings = {"max_children": config.max_children}
        if config.status_path is not None:
            found["status"] = StatusPage(config.status_listen or config.listen, path=config.status_path)
        found.update(settings)
        return cls(config.listen, reserve=reserve, processes=processes, **found)

    @property
    def share(self) -> int:
        """Number of workers that this process may occupy.

        Raises:
            ConfigurationError: max_children is not known.
        """
        if self.max_children is None:
            raise ConfigurationError(
                f"endpoint {self.address}: max_children is not known; give pm.max_children of that pool "
                "(in FPM's configuration, often /etc/php/*/fpm/pool.d/www.conf), or use Endpoint.from_fpm_config()",
                endpoint=str(self.address),
            )
        return share_of(self.max_children, self.reserve, self.processes)
