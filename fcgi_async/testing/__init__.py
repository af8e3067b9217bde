"""A test kit for code that uses fcgi_async: a FastCGI responder in Python, with faults on demand."""

from fcgi_async.testing.connection import ServedConnection
from fcgi_async.testing.expectation import Asked
from fcgi_async.testing.faults import Close, Drip, Fault, Garbage, Interruption, Reject, Reset, Stall
from fcgi_async.testing.reply import Reply
from fcgi_async.testing.request import Answer, ClientGone, Request
from fcgi_async.testing.responder import Responder
from fcgi_async.testing.routes import Handler, Route
from fcgi_async.wire.spec import ProtocolStatus, Role

__all__ = (
    "Answer",
    "Asked",
    "ClientGone",
    "Close",
    "Drip",
    "Fault",
    "Garbage",
    "Handler",
    "Interruption",
    "ProtocolStatus",
    "Reject",
    "Reply",
    "Request",
    "Reset",
    "Responder",
    "Role",
    "Route",
    "ServedConnection",
    "Stall",
)
