"""FPM's status page."""

from __future__ import annotations

import attrs

from fcgi_async.net.address import Address

__all__ = ("StatusPage",)


def _address(value: str | Address) -> Address:
    return value if isinstance(value, Address) else Address.parse(value)


@attrs.frozen
class StatusPage:
    """Where FPM tells its own state.

    Args:
        address: of `pm.status_listen`, which answers also while every worker is busy; or of the pool itself.
        path: `pm.status_path`.
    """

    address: Address = attrs.field(converter=_address)
    path: str = "/status"
