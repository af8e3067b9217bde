"""What stands between a visitor and PHP-FPM: nginx, or us."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from fcgi_async.fpm.local import find_free_port
from tests.apps.application import Application
from tests.asgi.server import serving, uvicorn
from tests.eventually import soon

__all__ = ("SOFTWARE", "Front", "nginx", "ours")

# WordPress offers pretty permalinks only if it believes to know the server
SOFTWARE = "fcgi_async (like nginx)"
# What a folder without an index is, the front controller says too, where nginx has 403 unless told otherwise. Debian's
# fastcgi_params, except that what a request does not have is not sent as an empty string (RFC 3875, 4.1.2)
_NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
{user}
events {{}}
http {{
    access_log off;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    client_max_body_size 64m;
    client_body_temp_path {directory}/body;
    fastcgi_temp_path {directory}/fastcgi;
    proxy_temp_path {directory}/proxy;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    fastcgi_buffer_size 64k;
    fastcgi_buffers 8 64k;
    absolute_redirect off;
    server_tokens off;
    server {{
        listen 127.0.0.1:{port};
        server_name {host};
        root {root};
        index index.php index.html;
        location ~ /\\.(?!well-known) {{ return 404; }}
        location / {{ try_files $uri $uri/ /{front}?$args; error_page 403 = /{front}?$args; }}
        location ~ ^(?<script>.+?\\.php)(?<info>/.*)?$ {{
            try_files $script =404;
            fastcgi_pass {fpm};
            fastcgi_param GATEWAY_INTERFACE CGI/1.1;
            fastcgi_param SERVER_SOFTWARE "{software}";
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type if_not_empty;
            fastcgi_param CONTENT_LENGTH $content_length if_not_empty;
            fastcgi_param SCRIPT_FILENAME $document_root$script;
            fastcgi_param SCRIPT_NAME $script;
            fastcgi_param PATH_INFO $info;
            fastcgi_param REQUEST_URI $request_uri;
            # not $uri, which try_files has changed
            fastcgi_param DOCUMENT_URI $script$info;
            fastcgi_param DOCUMENT_ROOT $document_root;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
            fastcgi_param REQUEST_SCHEME $scheme;
            fastcgi_param REMOTE_ADDR $remote_addr;
            fastcgi_param REMOTE_PORT $remote_port;
            fastcgi_param SERVER_ADDR $server_addr;
            fastcgi_param SERVER_PORT 80;
            fastcgi_param SERVER_NAME $host;
        }}
    }}
}}
"""


@attrs.frozen
class Front:
    """One that runs.

    Attributes:
        port: where it listens on the loopback.
    """

    name: str
    port: int


@contextmanager
def nginx(site: Application, fpm: str, directory: Path) -> Iterator[Front]:
    """Run an nginx that serves a site, until the block is left; `directory` is for its files."""
    port = find_free_port()
    settings = _NGINX.format(
        directory=directory,
        user="user root;" if os.geteuid() == 0 else "",
        port=port,
        host=f"{site.name}.test",
        root=site.root,
        front=site.front,
        fpm=fpm.replace("unix://", "unix:"),
        software=SOFTWARE,
    )
    (directory / "nginx.conf").write_text(settings)
    log = directory / "nginx.log"
    process = subprocess.Popen(["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), "-e", str(log)])
    try:
        soon(lambda: process.poll() is not None or (directory / "nginx.pid").exists())
        assert process.poll() is None, log.read_text()
        yield Front("nginx", port)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def ours(site: Application, fpm: str, directory: Path) -> Iterator[Front]:
    """Run uvicorn with a PHPApplication that serves a site, until the block is left; `directory` is for its log."""
    environment = {"FPM": fpm, "ROOT": str(site.root), "FRONT": site.front, "SOFTWARE": SOFTWARE}
    command = [*uvicorn("tests.apps.service:app"), "--no-server-header", "--log-level", "info", "--no-access-log"]
    with serving(command, environment, directory) as service:
        port = urlsplit(service.url).port
        assert port is not None
        yield Front("ours", port)
