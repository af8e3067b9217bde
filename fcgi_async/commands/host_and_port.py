"""Where a command serves metrics, as it is given and shown."""

from __future__ import annotations

import argparse

__all__ = ("host_and_port", "shown")


def host_and_port(text: str) -> tuple[str, int]:
    """Parse where to listen, for argparse; without a host it is the loopback."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT, such as 127.0.0.1:9253")
    return host.strip("[]") or "127.0.0.1", int(port)


def shown(host: str) -> str:
    """Return a host as a URL has it."""
    return f"[{host}]" if ":" in host else host
