"""Each fault on demand, as our own dispatcher meets it."""

from __future__ import annotations

import pytest

from fcgi_async import (
    ConnectError,
    ConnectionLost,
    Dispatcher,
    Endpoint,
    Job,
    JobTimeout,
    QueueTimeout,
    RemoteProtocolError,
)
from fcgi_async.testing import (
    Close,
    Drip,
    Fault,
    Garbage,
    Interruption,
    ProtocolStatus,
    Reject,
    Request,
    Reset,
    Responder,
    Stall,
)
from tests.eventually import eventually

pytestmark = pytest.mark.anyio


async def ok(request: Request) -> str:
    await request.body()
    return "ok"


@pytest.mark.parametrize("address", [None, "tcp"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Close(after=20), RemoteProtocolError),
        (Reset(), ConnectionLost),
        (Reset(after=20), ConnectionLost),
        (Garbage(), RemoteProtocolError),
    ],
)
async def test_fault_strikes_once(address: str | None, fault: Fault, error: type[Exception]) -> None:
    """The first request fails by it, the second is answered."""
    async with Responder(ok, address, fault={1: fault}) as responder:
        async with Dispatcher(Endpoint(responder.address, max_children=1, linger=0.0)) as php:
            with pytest.raises(error):
                await php.run(Job("/srv/a.php"))
            assert (await php.run(Job("/srv/b.php"))).text == "ok"


async def test_stall() -> None:
    """Nothing comes until the client gives up."""
    async with (
        Responder(ok, fault=Stall()) as responder,
        Dispatcher(Endpoint(responder.address, max_children=1, linger=0.0)) as php,
    ):
        with pytest.raises(JobTimeout):
            await php.run(Job("/srv/a.php", run_timeout=0.2))


async def test_drip() -> None:
    """A response split at every byte arrives whole."""
    async with (
        Responder(ok, fault=Drip()) as responder,
        Dispatcher(Endpoint(responder.address, max_children=1, linger=0.0)) as php,
    ):
        assert (await php.run(Job("/srv/a.php"))).text == "ok"


async def test_overloaded_once_is_tried_again() -> None:
    """The dispatcher sends a job again that was rejected."""
    fault = {1: Reject(ProtocolStatus.OVERLOADED)}
    async with (
        Responder(ok, fault=fault) as responder,
        Dispatcher(Endpoint(responder.address, max_children=1, linger=0.0)) as php,
    ):
        assert (await php.run(Job("/srv/a.php"))).text == "ok"
        assert [request.protocol_status for request in responder.requests] == [2, 0]


async def test_handler_decides() -> None:
    """A handler returns a fault, or lets it strike in the middle."""

    async def handler(request: Request) -> Fault | None:
        if request.script == "/returned.php":
            return Reset()
        await request.write_stdout("Content-type: text/plain\r\n\r\nhalf")
        await request.fault(Reset())
        raise AssertionError("the handler went on")

    async with (
        Responder(handler) as responder,
        Dispatcher(Endpoint(responder.address, max_children=1, linger=0.0)) as php,
    ):
        for script in ("/returned.php", "/written.php"):
            with pytest.raises(ConnectionLost):
                await php.run(Job(script))


@pytest.mark.parametrize("multiplex", [False, True])
@pytest.mark.parametrize("fault", [Close(), Reset(), Garbage(), Stall()])
async def test_fault_instead_of_values(multiplex: bool, fault: Interruption) -> None:
    """A connection whose GET_VALUES met a fault is over when the client has closed it, and its worker takes another."""
    async with Responder(ok, multiplex=multiplex, workers=1, values=fault) as responder:
        for _ in range(2):
            async with Dispatcher(responder.address, max_children=1) as php:
                with pytest.raises(ConnectError if not isinstance(fault, Stall) else QueueTimeout):
                    await php.run(Job("/srv/a.php", timeout=20.0 if not isinstance(fault, Stall) else 0.1))
            await eventually(lambda: responder.open_connections == 0)
        assert len(responder.connections) >= 2
