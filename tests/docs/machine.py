"""The machine that the pages take for given, and what stands in for it here.

It has PHP-FPM at unix:///run/php/php8.2-fpm.sock with `pm.max_children = 8`, its status page at a socket of its own,
scripts under /srv/app, a shop under /srv/shop, a WordPress under /var/www/html, and two hosts with an FPM each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM
from fcgi_async.fpm.local import find_free_port
from tests.docs.blocks import DOCS, ROOT, Block

__all__ = ("Machine", "running")


@attrs.frozen
class Machine:
    """What stands in for what.

    Attributes:
        known: what the pages say -> what it is here.
    """

    known: dict[str, str]

    def translate(self, text: str, directory: Path) -> str:
        """Return a text of a page with this machine's addresses and paths in it; /srv/app is in the directory."""
        for said, here in (self.known | {"/srv/app": str(directory / "app")}).items():
            text = text.replace(said, here)
        return text

    def prepare(self, page: Path, directory: Path) -> None:
        """Write the scripts under /srv/app that a page names and does not show."""
        for name in set(re.findall(r"(?<=/srv/app/)\w+\.php", page.read_text())) | {"thumb.php"}:
            script = directory / "app" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text("<?php echo 'done';")
        # which the page says to copy
        (directory / "app" / "job.php").write_bytes((DOCS / "examples" / "php" / "job.php").read_bytes())

    def save(self, block: Block, directory: Path) -> Path:
        """Write a block to the file that it is."""
        assert block.name is not None
        path = directory / self.translate(block.name, directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.translate(block.text, directory))
        return path


@contextmanager
def running(portal: BlockingPortal) -> Iterator[Machine]:
    """Start the three FPMs."""
    ini = {"display_errors": "off", "log_errors": "on", "output_buffering": "0", "html_errors": "off"}
    fpm = LocalFPM(
        max_children=8,
        ini=ini,
        system_ini=False,
        pool={"request_terminate_timeout": "60s"},
        global_settings={"process_control_timeout": "60s"},
    )
    one, two = (LocalFPM(max_children=2, listen="tcp", ini=ini, system_ini=False) for _ in range(2))
    with (
        portal.wrap_async_context_manager(fpm),
        portal.wrap_async_context_manager(one),
        portal.wrap_async_context_manager(two),
    ):
        # the workers of an nginx that root starts are another user's, and could not open the socket
        nginx = {"pid nginx.pid;": "user root; pid nginx.pid;"} if os.geteuid() == 0 else {}
        yield Machine(
            nginx
            | {
                "/run/php/php8.2-fpm.sock": fpm.address.removeprefix("unix://"),
                "unix:///run/php/status.sock": fpm.status_address,
                "tcp://php-1.internal:9000": one.address,
                "tcp://php-2.internal:9000": two.address,
                "/etc/php/8.2/fpm/php-fpm.conf": str(fpm.directory / "fpm.conf"),
                "/srv/shop": str(DOCS / "examples" / "shop"),
                "/var/www/html": str(DOCS / "examples" / "wordpress"),
                "~/fcgi_async": str(ROOT),
            }
            # a page's servers may still be ending when the next one begins
            | {port: str(find_free_port()) for port in ("8080", "8081", "8082", "8083", "8084", "8085")}
        )
