"""What is around a dispatcher: FPM's configuration, a private FPM, extras, ASGI applications, the test kit."""

from __future__ import annotations

import importlib
from typing import Any, Final

from fcgi_async import ConfigurationError, Dispatcher, Endpoint, LocalFPM
from fcgi_async.asgi import DispatcherLifespan, PHPApplication
from fcgi_async.jobs import Jobs
from fcgi_async.testing import Responder
from tests.asgi.client import Client
from tests.handlers import ok
from tests.mistakes.mistake import ADDRESS, Here, Mistake, enter

POOL: Final = "[www]\nlisten = 9000\npm = static\npm.max_children = 4\n"
STORES: Final = "fcgi_async.jobs.sql"


def configuration(name: str, text: str, what: str, where: str, cure: str, **options: Any) -> Mistake:
    """A configuration of FPM that says no endpoint."""
    return Mistake(
        name,
        lambda here: Endpoint.from_fpm_config(here.write("fpm.conf", text), **options),
        ConfigurationError,
        what,
        where,
        cure,
    )


def private(name: str, what: str, where: str, cure: str, **arguments: Any) -> Mistake:
    """A private FPM that does not start."""
    return Mistake(name, lambda _: enter(LocalFPM(**arguments)), ConfigurationError, what, where, cure)


def extra(name: str, said: str, package: str, *modules: str) -> Mistake:
    """An extra that is not installed; the message says what for, and the first module needs it."""

    def cause(here: Here) -> None:
        here.hide(package, *modules)
        importlib.import_module(modules[0])

    return Mistake(f"without {name}", cause, ImportError, "need", said, f"pip install 'fcgi-async[{name}]'")


def driver(name: str, package: str, url: str) -> Mistake:
    """A database whose driver is not installed."""

    def cause(here: Here) -> None:
        here.hide(package, f"{STORES}.{name}", f"{STORES}.{name}_store")
        Jobs(url)

    return Mistake(f"{name} without its driver", cause, ImportError, "need", "durable jobs in", f"'fcgi-async[{name}]'")


def application(name: str, what: str, where: str, cure: str, **options: Any) -> Mistake:
    """An application of PHP that cannot work."""
    return Mistake(name, lambda here: make_application(here, options), ConfigurationError, what, where, cure)


def make_application(here: Here, options: dict[str, Any]) -> object:
    return PHPApplication(**{"root": here.folder} | options)


async def request(app: Any) -> None:
    await Client().request(app, path="/", raw_path=b"/", http_version="1.1", headers=[(b"host", b"a")], state={})


async def without_dispatcher(here: Here) -> None:
    here.write("index.php", "<?php")
    await request(PHPApplication(root=here.folder))


async def without_lifespan(_: Here) -> None:
    await request(DispatcherLifespan(lambda _s, _r, _d: None, lambda: Dispatcher(ADDRESS, max_children=1)))  # type: ignore[arg-type, return-value]


async def enter_again(context: Any) -> None:
    async with context:
        await enter(context)


FPM: Final = (
    Mistake(
        "configuration that is not there",
        lambda _: Endpoint.from_fpm_config("/nowhere/www.conf"),
        ConfigurationError,
        "No such file",
        "/nowhere/www.conf",
        "give FPM's main file",
    ),
    Mistake(
        "folder as a configuration",
        lambda here: Endpoint.from_fpm_config(here.folder),
        ConfigurationError,
        "Is a directory",
        "/",
        "give FPM's main file",
    ),
    configuration("empty configuration", "", "is empty", "fpm.conf", "php-fpm -tt 2>FILE"),
    configuration("nginx's configuration", "server {\n", "neither a section nor a setting", "fpm.conf:1", "neither"),
    configuration("pool that does not exist", POOL, "no pool 'shop'", "fpm.conf", "Name one of them", pool="shop"),
    configuration("workers as a word", POOL.replace("4", "many"), "not a whole number", "fpm.conf:4", "many"),
    configuration(
        "no workers", POOL.replace("pm.max_children = 4", ""), "no 'pm.max_children'", "fpm.conf", "without which"
    ),
    configuration(
        "unset variable", POOL.replace("9000", "${FPM_PORT_X}"), "is not set here", "${FPM_PORT_X}", "give environ="
    ),
    configuration("all workers reserved", POOL, "leaves no worker", "reserve=4", "lower reserve", reserve=4),
    private(
        "missing php-fpm",
        "not an executable php-fpm",
        "/nowhere/php-fpm",
        "/usr/sbin/php-fpm",
        binary="/nowhere/php-fpm",
    ),
    private("setting as a number", "not 64", "memory_limit", "must be a string", ini={"memory_limit": 64}),
    private(
        "setting with a blank", "not the name", "'memory limit'", "such as memory_limit", ini={"memory limit": "64M"}
    ),
    private("setting of its own", "sets this itself", "pm.max_children", "leave it out", pool={"pm.max_children": "4"}),
    private("unknown setting", "unknown entry 'pm.speed'", "fpm.conf:", "did not start", pool={"pm.speed": "1"}),
    private("workers as text", "not '4'", "LocalFPM(max_children)", "must be a whole number", max_children="4"),
    private("unknown socket", "not 'udp'", "LocalFPM(listen)", '"unix" or "tcp"', listen="udp"),
    Mistake(
        "address before entering",
        lambda _: LocalFPM().address,
        AttributeError,
        "no 'address'",
        "LocalFPM",
        "async with LocalFPM",
    ),
    Mistake(
        "entered twice",
        lambda here: enter_again(LocalFPM(max_children=1, system_ini=False)),
        ConfigurationError,
        "entered before",
        "LocalFPM",
        "make a new one",
    ),
)

EXTRAS: Final = (
    extra("cron", "schedules of durable jobs", "cronsim", "fcgi_async.jobs.cronline"),
    extra("prometheus", "metrics for Prometheus", "prometheus_client", "fcgi_async.telemetry.prometheus"),
    extra("otel", "spans and metrics for OpenTelemetry", "opentelemetry", "fcgi_async.telemetry.otel"),
    extra("serve", "`fcgi-async serve`", "uvicorn", "fcgi_async.commands.uvicorn_server"),
    driver("postgres", "psycopg", "postgresql://user@host/jobs"),
    driver("mysql", "pymysql", "mysql://user@host/jobs"),
)

ASGI: Final = (
    Mistake(
        "application without a dispatcher",
        without_dispatcher,
        ConfigurationError,
        "no dispatcher",
        "'php'",
        "lifespan=fcgi_async.asgi.lifespan",
    ),
    Mistake(
        "server without a lifespan", without_lifespan, ConfigurationError, "has not run", "lifespan", "--lifespan on"
    ),
    application("dispatcher as a number", "none of", "dispatcher=5", "a Dispatcher", dispatcher=5),
    application("root as a number", "not the path", "root=5", "folder", root=5),
    application("host with a scheme", "not a host name", "'http://a'", "give names without ports", hosts=["http://a"]),
    application("one host as text", "not a list", "hosts='a.org'", "such as ['a.org']", hosts="a.org"),
    application("prefix without a slash", "starts with /", "'uploads'", "such as /uploads/", no_scripts=["uploads"]),
    application("unknown scripts", "neither", "scripts='some'", "a list names scripts", scripts="some"),
)

KIT: Final = (
    Mistake(
        "responder entered twice",
        lambda _: enter_again(Responder(ok)),
        ConfigurationError,
        "entered",
        "Responder",
        "new",
    ),
    Mistake(
        "responder in a missing folder",
        lambda _: enter(Responder(ok, "unix:///nowhere/a.sock")),
        ConfigurationError,
        "No such file",
        "unix:///nowhere/a.sock",
        "cannot listen",
    ),
    Mistake(
        "responder at a host",
        lambda _: enter(Responder(ok, "localhost")),
        ConfigurationError,
        "not an address",
        "'localhost'",
        "unix:///",
    ),
)
