"""The parameters that PHP gets in addition to the request's headers: the script, the client and the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fcgi_async.asgi.php_application.hosts import Host
from fcgi_async.asgi.php_application.lookup import FoundScript
from fcgi_async.asgi.php_application.target import Target
from fcgi_async.asgi.protocol import Scope

__all__ = ("script_params",)

_PROTOCOLS: Final[Mapping[str, str]] = {"1": "HTTP/1.0", "2": "HTTP/2.0", "3": "HTTP/3.0"}
_DEFAULT_PORTS: Final[Mapping[str, str]] = {"https": "443"}


def script_params(scope: Scope, target: Target, script: FoundScript, host: Host | None) -> dict[str, str]:
    """Return the parameters of RFC 3875, and others that PHP programs look for.

    Args:
        scope: the request.
        target: the target of the request.
        script: the script that answers.
        host: the host of the request; None if it names none: then the server's own name is used.
    """
    scheme = scope.get("scheme", "http")
    script_name = (target.mount + script.name).decode("utf-8", "surrogateescape")
    path_info = script.path_info.decode("utf-8", "surrogateescape")
    version = scope.get("http_version", "1.1")
    server = scope.get("server") or ("localhost", None)
    name = host.name if host is not None else _own_name(*server)
    params = {
        "SCRIPT_NAME": script_name,
        "REQUEST_URI": target.uri,
        "QUERY_STRING": target.query,
        "PATH_INFO": path_info,
        "DOCUMENT_URI": script_name + path_info,
        "REQUEST_SCHEME": scheme,
        "SERVER_PROTOCOL": _PROTOCOLS.get(version) or f"HTTP/{version}",
        "SERVER_NAME": name,
        # from the address that the client used, not from the socket: programs use it in cookies and links
        "SERVER_PORT": (host is not None and host.port) or _DEFAULT_PORTS.get(scheme, "80"),
        "HTTP_HOST": host.text if host is not None else name,
    }
    if scheme == "https":
        params["HTTPS"] = "on"
    client = scope.get("client")
    if client:
        params["REMOTE_ADDR"], params["REMOTE_PORT"] = str(client[0]), str(client[1])
    # a server on a unix socket gives its path and no port
    if server[1] is not None:
        params["SERVER_ADDR"] = str(server[0])
    user = _user(scope.get("user"))
    if user:
        params["REMOTE_USER"] = user
    return params


def _own_name(address: str, port: int | None) -> str:
    """Return the server's name for a client that names no host."""
    # a unix socket has a path, and no port
    if port is None:
        return "localhost"
    return f"[{address}]" if ":" in address else address


def _user(user: object) -> str | None:
    """Return the name of the user that a middleware has authenticated."""
    if user is None or isinstance(user, str):
        return user
    if getattr(user, "is_authenticated", False) is not True:
        return None
    name = getattr(user, "display_name", None) or getattr(user, "username", None)
    return name if isinstance(name, str) else None
