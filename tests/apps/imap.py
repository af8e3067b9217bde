"""As much of an IMAP server as Roundcube needs to let somebody in: one user, one empty mailbox."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ("PASSWORD", "USER", "mail_server")

USER, PASSWORD = "ada", "secret"
_SELECTED = "* 0 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen \\Deleted)\r\n* OK [UIDVALIDITY 1]\r\n* OK [UIDNEXT 1]\r\n"
_STATUS = "* STATUS INBOX (MESSAGES 0 RECENT 0 UNSEEN 0 UIDNEXT 1 UIDVALIDITY 1)\r\n"


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"* OK ready\r\n")
        while line := self.rfile.readline().decode().strip():
            tag, _, command = line.partition(" ")
            answer, result = _answer(command)
            self.wfile.write(f"{answer}{tag} {result}\r\n".encode())
            if command.upper().startswith("LOGOUT"):
                return


def _answer(command: str) -> tuple[str, str]:
    verb = command.upper().removeprefix("UID ").partition(" ")[0]
    if verb == "LOGIN":
        right = re.fullmatch(rf'LOGIN "?{USER}"? "?{PASSWORD}"?', command) is not None
        return "", "OK logged in" if right else "NO this is not the password"
    answers = {
        "CAPABILITY": "* CAPABILITY IMAP4rev1\r\n",
        "SELECT": _SELECTED,
        "EXAMINE": _SELECTED,
        "STATUS": _STATUS,
        "SEARCH": "* SEARCH\r\n",
        "LSUB": '* LSUB () "/" INBOX\r\n',
        "LIST": '* LIST (\\Noselect) "/" ""\r\n' if command.endswith('""') else '* LIST () "/" INBOX\r\n',
        "LOGOUT": "* BYE\r\n",
    }
    return answers.get(verb, ""), "OK done"


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    # a client that keeps its connection is not waited for
    block_on_close = False


@contextmanager
def mail_server() -> Iterator[int]:
    """Run one at a free port of the loopback until the block is left; return the port."""
    with _Server(("127.0.0.1", 0), _Session) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
