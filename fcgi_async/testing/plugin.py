"""The fixtures of `pytest_fcgi_async`, for a pytest that loads no plugins by itself.

`pytest_plugins = ["fcgi_async.testing.plugin"]` in the topmost conftest.py loads them; other projects do not need it.
"""

from __future__ import annotations

try:
    from pytest_fcgi_async import (  # type: ignore[import-untyped]
        fcgi_responder,
        fcgi_responder_factory,
        local_fpm,
        local_fpm_settings,
    )
except ImportError as error:
    raise ImportError(
        "the fixtures need pytest: pip install 'fcgi-async[testing]'", name=error.name, path=error.path
    ) from error

# the names by which pytest finds them
FIXTURES = (fcgi_responder, fcgi_responder_factory, local_fpm, local_fpm_settings)

__all__ = ("FIXTURES",)
