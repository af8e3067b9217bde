"""The PHP-FPM of a site."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fcgi_async.commands.serve_options import ServeOptions
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.fpm.local import LocalFPM
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("SITE_PRIORITY", "open_dispatcher")

# the priority of the site's requests, as in PHPApplication; jobs have a lower one
SITE_PRIORITY = 10
# as much as PHPApplication accepts; PHP's own limits, 2M and 8M, are the first that people reach
_INI = {"upload_max_filesize": "64M", "post_max_size": "64M", "log_errors": "on"}
# changed files take effect at once
_DEV = {"display_errors": "on", "opcache.revalidate_freq": "0"}
_PRODUCTION = {"display_errors": "off"}


@asynccontextmanager
async def open_dispatcher(chosen: ServeOptions, *, shutdown_timeout: float) -> AsyncIterator[Dispatcher]:
    """Start a private PHP-FPM if one is needed, and open a dispatcher.

    Raises:
        ConfigurationError: there is no php-fpm, or the pool cannot be used with these options.
    """
    if chosen.fpm is not None:
        async with _dispatcher(chosen, chosen.fpm, shutdown_timeout) as php:
            yield php
        return
    ini = _INI | (_DEV if chosen.dev else _PRODUCTION) | dict(chosen.ini)
    async with (
        LocalFPM(max_children=chosen.workers, ini=ini) as fpm,
        _dispatcher(chosen, fpm.address, shutdown_timeout) as php,
    ):
        yield php


def _dispatcher(chosen: ServeOptions, address: str, shutdown_timeout: float) -> Dispatcher:
    kept = {SITE_PRIORITY: chosen.kept_slots} if chosen.kept_slots else {}
    endpoint = Endpoint(
        address, max_children=chosen.workers, reserve=chosen.reserve, processes=chosen.processes, kept=kept
    )
    return Dispatcher(endpoint, shutdown_timeout=shutdown_timeout)
