"""A server on libfcgi, the library of most FastCGI programs that are not PHP, as processes that end with the test.

libfcgi reads 8 KiB at once, and drops what it has read ahead when a request ends: a GET_VALUES that follows a request
in the same write is never answered. One without padding is answered only when the next record comes, one with padding
at once. The server's program marks its stay in the file that the query names, as
`tests/fpm/scripts/fault.php` does, and the query says the rest:

    name     what the answer says
    marks    where it notes that it begins and ends
    seconds  how long it takes
    do       "kill itself" before it answers; "sleep until told", until the file `gate` is there; "tell parameters" as
             NAME=VALUE lines instead of the name; "echo" the body instead
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.interop.process import running
from tests.interop.relay import accepts, program
from tests.interop.server import SERVERS


@asynccontextmanager
async def libfcgi(directory: Path, *, workers: int) -> AsyncIterator[str]:
    """Run the server, and yield its address.

    Args:
        directory: for its socket and its log; a short path, since the kernel's limit for a socket is 107 bytes.
        workers: how many processes serve a request each.
    """
    path = directory / "libfcgi.sock"
    command: list[str | Path] = [program("perl"), SERVERS / "libfcgi.pl", str(path), str(workers)]
    async with running(command, directory / "libfcgi.log", is_ready=lambda: accepts(path)):
        yield f"unix://{path}"
