"""The applications, each installed once, and the PHP-FPM and the database that they share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM
from tests.apps import database
from tests.apps.adminer import Adminer
from tests.apps.application import Application
from tests.apps.database import Database
from tests.apps.dokuwiki import DokuWiki
from tests.apps.fronts import Front, nginx, ours
from tests.apps.laravel_app import Laravel
from tests.apps.mediawiki import MediaWiki
from tests.apps.phpmyadmin import PhpMyAdmin
from tests.apps.roundcube import Roundcube
from tests.apps.slim_app import Slim
from tests.apps.symfony import Symfony
from tests.apps.visitor import visitor
from tests.apps.wordpress import WordPress

APPLICATIONS: tuple[type[Application], ...] = (
    WordPress,
    MediaWiki,
    DokuWiki,
    PhpMyAdmin,
    Adminer,
    Roundcube,
    Slim,
    Symfony,
    Laravel,
)
# to find what differs by itself, nginx is compared with nginx
_AGAINST = "FCGI_ASYNC_APPS_AGAINST"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder; they run in a target of their own."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.apps)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Database]:
    """A database server of the tests' own."""
    with database.running() as server:
        yield server


@pytest.fixture(scope="session")
def apps_fpm(fpm_portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFPM]:
    """A PHP-FPM with the system's extensions; its sessions are in a folder of the tests."""
    folder = tmp_path_factory.mktemp("php")
    for name in ("sessions", "tmp"):
        (folder / name).mkdir()
    ini = {
        "sys_temp_dir": str(folder / "tmp"),
        "session.save_path": str(folder / "sessions"),
        "opcache.revalidate_freq": "0",
        "display_errors": "off",
        "log_errors": "on",
        "upload_max_filesize": "32M",
        "post_max_size": "32M",
        "date.timezone": "UTC",
    }
    with fpm_portal.wrap_async_context_manager(LocalFPM(max_children=4, ini=ini)) as fpm:
        yield fpm


@pytest.fixture(scope="module", params=APPLICATIONS, ids=lambda kind: kind.name)
def site(
    request: pytest.FixtureRequest, mariadb: Database, apps_fpm: LocalFPM, tmp_path_factory: pytest.TempPathFactory
) -> Application:
    """An application, installed through nginx."""
    kind: type[Application] = request.param
    found = kind(tmp_path_factory.mktemp(kind.name), mariadb)
    found.prepare()
    with nginx(found, apps_fpm.address, tmp_path_factory.mktemp("nginx")) as front:
        with visitor(found.url, front.port) as client:
            found.install(client)
    found.keep()
    return found


@pytest.fixture(scope="module")
def fronts(
    site: Application, apps_fpm: LocalFPM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Front, Front]]:
    """The same application through nginx and through us; with the variable set, through nginx twice."""
    make = nginx if os.environ.get(_AGAINST) == "nginx" else ours
    with (
        nginx(site, apps_fpm.address, tmp_path_factory.mktemp("nginx")) as one,
        make(site, apps_fpm.address, tmp_path_factory.mktemp("other")) as other,
    ):
        yield one, other
