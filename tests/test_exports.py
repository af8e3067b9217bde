"""The public names are a promise: none appears or disappears unnoticed."""

from __future__ import annotations

from importlib.metadata import version

import fcgi_async

PUBLIC = """
UNSET CallError CallRefused CannotMultiplex ConfigurationError ConnectError ConnectionLost ContentEncodingError
DispatchError Dispatcher DispatcherClosed Endpoint FastCGIError Headers HeldSlot InvalidJob Job JobCancelled JobError
JobFailed JobGroup JobHandle JobNotDone JobObservation JobReport JobTimeout KeepAlive Limits LocalFPM
LocalProtocolError Observer Outcome Overloaded PHPError PHPExited PHPFatalError PHPFunction PoolConfig PoolStatus
ProcessState ProcessStatus ProtocolError QueueFull QueueTimeout RemoteProtocolError RequestRejected Response
ResponseStream ResponseTooLarge ResponseTruncated Retry Role Statistics StatusPage StatusUnavailable StreamBusy
Timeouts Timing TransportError UnknownRole View read_pool_config
""".split()


def test_public_names() -> None:
    """`__all__` is this list, to the name."""
    assert sorted(fcgi_async.__all__) == sorted(PUBLIC)
    assert len(set(fcgi_async.__all__)) == len(fcgi_async.__all__)


def test_every_public_name_is_there() -> None:
    """Each name can be imported from the package."""
    assert all(getattr(fcgi_async, name) is not None for name in PUBLIC)


def test_version() -> None:
    """The package tells its version, the one it is distributed as."""
    assert fcgi_async.__version__ == version("fcgi-async")


def test_nothing_else_looks_public() -> None:
    """What can be seen on the package besides are its folders and modules."""
    from types import ModuleType

    others = {name for name in vars(fcgi_async) if not name.startswith("_")} - set(PUBLIC)
    assert all(isinstance(getattr(fcgi_async, name), ModuleType) for name in others)
