"""The share of FPM's workers, from numbers; `discovery` asks FPM's status page."""

from __future__ import annotations

from fcgi_async.errors import ConfigurationError

__all__ = ("reserve_for_the_site", "share_of")


def share_of(max_children: int, reserve: int, processes: int) -> int:
    """Return how many workers one of `processes` processes may occupy if `reserve` are left to other clients."""
    return (max_children - reserve) // processes


def reserve_for_the_site(max_children: int, processes: int) -> int:
    """Return a quarter of a pool, rounded up, for its other clients; less if our processes would otherwise have no
    worker.

    Raises:
        ConfigurationError: there are more processes than workers.
    """
    if processes > max_children:
        raise ConfigurationError(
            f"{processes} processes cannot share {max_children} worker(s); raise pm.max_children, or lower processes"
        )
    return min(-(-max_children // 4), max_children - processes)
