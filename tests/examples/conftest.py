"""The example service, as its own docstring starts it, on a PHP-FPM of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM
from tests.asgi.server import ROOT, Service, serving, uvicorn
from tests.conftest import INI

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture
def progress(fpm_portal: BlockingPortal, tmp_path: Path) -> Iterator[Service]:
    """The progress service with a share of three workers, whose FPM writes an access.log."""
    log = {"access.log": str(tmp_path / "access.log")}
    fpm = LocalFPM(max_children=4, system_ini=False, ini=INI, pool=log)
    with fpm_portal.wrap_async_context_manager(fpm):
        environment = {"FPM": fpm.address, "FPM_STATUS": fpm.status_address, "MAX_CHILDREN": "4", "RESERVE": "1"}
        with serving(uvicorn("service:app"), environment, tmp_path, cwd=EXAMPLES / "progress") as service:
            yield service
