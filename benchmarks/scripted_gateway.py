"""The two sides of a gateway, scripted: a client of one in its own thread, and a peer that multiplexes as it does.

As in `scripted.py`, both are pumped before each look at the sockets, so that the code between always sees the same.
"""

from __future__ import annotations

import socket
from pathlib import Path

from benchmarks.scripted import END_REQUEST, GET_VALUES, GET_VALUES_RESULT, HEAD, RECORD, STDIN, STDOUT, record
from fcgi_async.wire.records import encode_pair

BEGIN_REQUEST, PARAMS = 1, 4
GATEWAY_VALUES = b"\x0f\x01FCGI_MPXS_CONNS1\x0d\x02FCGI_MAX_REQS16\x12\x01FCGI_ASYNC_GATEWAY1"


class ScriptedClient:
    """Sends requests to a gateway, so many at once, as a dispatcher does, and counts the answers.

    Args:
        path: of the gateway's socket.
        at_once: how many requests are unanswered; with fewer the queue of the gateway would run empty, in step with it.
    """

    def __init__(self, path: Path, at_once: int = 16) -> None:
        self._path, self._at_once = path, at_once
        self._sock: socket.socket | None = None
        self._unread = b""
        self._ids = list(range(1, at_once + 1))
        self.left = self.answered = 0
        names = {"SCRIPT_FILENAME": "/srv/ok.php", "REQUEST_METHOD": "GET", "SCRIPT_NAME": "/ok.php"}
        names |= {"SERVER_PROTOCOL": "HTTP/1.1", "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_SOFTWARE": "fcgi_async"}
        names |= {"REQUEST_URI": "/ok.php", "QUERY_STRING": "", "DOCUMENT_URI": "/ok.php"}
        self._params = b"".join(encode_pair(name.encode(), value.encode()) for name, value in names.items())

    def pump(self) -> None:
        """Send as many requests as may be open, and take what has come."""
        if self._sock is None:
            if not self.left:
                # not begun, or closed
                return
            self._sock = socket.socket(socket.AF_UNIX)
            self._sock.connect(str(self._path))
            self._sock.setblocking(False)
            self._sock.send(record(GET_VALUES, 0, b""))
        self._read(self._sock)
        data = b""
        while self.left and self._ids:
            self.left -= 1
            data += self._request(self._ids.pop(0))
        if data:
            self._sock.sendall(data)

    def close(self) -> None:
        """Close the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _request(self, request_id: int) -> bytes:
        begin = record(BEGIN_REQUEST, request_id, b"\x00\x01\x01" + bytes(5))
        params = record(PARAMS, request_id, self._params) + record(PARAMS, request_id, b"")
        return begin + params + record(STDIN, request_id, b"")

    def _read(self, sock: socket.socket) -> None:
        try:
            data = self._unread + sock.recv(65536)
        except BlockingIOError:
            return
        while len(data) >= RECORD.size:
            _, kind, request_id, length, padding = RECORD.unpack_from(data)
            end = RECORD.size + length + padding
            if len(data) < end:
                break
            data = data[end:]
            if kind == END_REQUEST:
                self.answered += 1
                self._ids.append(request_id)
        self._unread = data


class ScriptedGateway:
    """Answers requests that share a connection, all that have come in one, as a gateway does.

    Args:
        path: of its socket.
    """

    def __init__(self, path: Path) -> None:
        self.address = f"unix://{path}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._unread: dict[socket.socket, bytes] = {}

    def pump(self) -> None:
        """Answer everything that has come."""
        try:
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._unread[connection] = b""
        except BlockingIOError:
            pass
        for connection in list(self._unread):
            try:
                data = connection.recv(65536)
                if data:
                    self._answer(connection, self._unread[connection] + data)
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            connection.close()
            del self._unread[connection]

    def _answer(self, connection: socket.socket, data: bytes) -> None:
        answer = b""
        while len(data) >= RECORD.size:
            _, kind, request_id, length, padding = RECORD.unpack_from(data)
            end = RECORD.size + length + padding
            if len(data) < end:
                break
            data = data[end:]
            if kind == GET_VALUES:
                answer += record(GET_VALUES_RESULT, 0, GATEWAY_VALUES)
            elif kind == STDIN and not length:
                answer += record(STDOUT, request_id, HEAD + b"ok") + record(END_REQUEST, request_id, bytes(8))
        self._unread[connection] = data
        if answer:
            connection.sendall(answer)
