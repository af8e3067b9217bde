"""FastCGI as bytes and events: no I/O, no clock, no event loop, no sockets."""

from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import (
    AbortRequested,
    ClientEvent,
    Data,
    DataEnded,
    ParamsReceived,
    RequestBegun,
    RequestEnded,
    ServerEvent,
    Stderr,
    Stdin,
    StdinEnded,
    Stdout,
    Stray,
    Terminated,
    ValuesReceived,
    ValuesRequested,
)
from fcgi_async.wire.records import MalformedPairs, decode_pairs, encode_pair, pack_pairs
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import RequestState

__all__ = (
    "AbortRequested",
    "CGIHead",
    "ClientConnection",
    "ClientEvent",
    "Data",
    "DataEnded",
    "HeadParser",
    "HeadTooLarge",
    "MalformedPairs",
    "ParamsReceived",
    "ProtocolStatus",
    "RecordType",
    "RequestBegun",
    "RequestEnded",
    "RequestState",
    "Role",
    "ServerConnection",
    "ServerEvent",
    "Stderr",
    "Stdin",
    "StdinEnded",
    "Stdout",
    "Stray",
    "Terminated",
    "ValuesReceived",
    "ValuesRequested",
    "decode_pairs",
    "encode_pair",
    "pack_pairs",
)
