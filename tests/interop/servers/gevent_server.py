"""The answering program on gevent-fastcgi: `gevent_server.py SOCKET`; ../server.py says what it does."""

import hashlib
import sys
from urllib.parse import parse_qsl

import gevent
from gevent.lock import Semaphore  # noqa: F401 - gevent-fastcgi takes it from here
from gevent_fastcgi.server import FastCGIServer


class Arrivals:
    """How many requests have come, for those that wait for others."""

    def __init__(self) -> None:
        self.count = 0
        self.waiting: list[tuple[int, gevent.event.Event]] = []

    def arrive(self, wanted: int) -> None:
        """Count one more, and wait until so many have come."""
        self.count += 1
        for number, event in self.waiting:
            if number <= self.count:
                event.set()
        if self.count < wanted:
            event = gevent.event.Event()
            self.waiting.append((wanted, event))
            event.wait()


class CountingServer(FastCGIServer):
    """Counts the connections that it accepts."""

    accepted = 0

    def handle_connection(self, sock, address):
        self.accepted += 1
        super().handle_connection(sock, address)


def main() -> None:
    """Serve until killed."""
    arrivals = Arrivals()

    def answer(request):
        query = dict(parse_qsl(request.environ.get("QUERY_STRING", "")))
        body = request.stdin.read()
        arrivals.arrive(int(query.get("together", 0)))
        gevent.sleep(int(query.get("ms", 0)) / 1000)
        if "stderr" in query:
            request.stderr.write(query["stderr"].encode())
        head = (
            f"Status: {query.get('status', 200)}\r\nContent-Type: text/plain\r\nX-Name: {query.get('name', '')}\r\n"
            f"X-Received: {len(body)} {hashlib.md5(body).hexdigest()}\r\nX-Accepted: {server.accepted}\r\n\r\n"
        )
        request.stdout.write(head.encode() + b"x" * int(query.get("size", 0)))

    server = CountingServer(sys.argv[1], answer)
    server.start()
    gevent.event.Event().wait()


if __name__ == "__main__":
    main()
