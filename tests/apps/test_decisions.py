"""PHPApplication decides as nginx does what answers a request target; each difference is on a list, with its reason."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from fcgi_async import LocalFPM
from tests.apps.database import Database
from tests.apps.fronts import Front, nginx, ours
from tests.apps.raw_targets import Decisions, decision, targets


@attrs.frozen
class Difference:
    """What may differ: patterns of the target, of nginx's decision and of ours, and why."""

    reason: str
    target: str
    nginx: str
    ours: str

    def covers(self, target: str, theirs: str, own: str) -> bool:
        """Whether it is this."""
        pairs = ((self.target, target), (self.nginx, theirs), (self.ours, own))
        return all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs)


EXPECTED = (
    Difference("no path of a site needs control characters, nor backslashes", r".*%(?:0a|5c).*", r"ran .*|404", "400"),
    Difference(
        "what may have the source of a script is hidden, and nginx shows it",
        r".*(?:a\.phtml|b\.php7|old\.php\.bak|UPPER\.PHP|x~)(?:\?.*|/[^/]*/\.\.)?",
        r"shown: <\?php .*|file x~",
        "404",
    ),
    Difference(
        "so is what would be below it, which nginx gives to the front controller",
        r".*(?:a\.phtml|b\.php7|old\.php\.bak|x~).*",
        r"ran index\.php with \.",
        "404",
    ),
    Difference("no script runs where visitors put files", r".*uploads/.*", r"ran uploads/evil\.php .*", "404"),
    Difference(
        "a FIFO is not a file; nginx takes it for one, and cannot send it", ".*fifo.*", "404", r"ran index\.php with \."
    ),
)


class Asker:
    """Asks one server for one target after another, on a connection as long as that lasts."""

    def __init__(self, front: Front) -> None:
        self._port = front.port
        self._connection: socket.socket | None = None

    def ask(self, target: str) -> str:
        """Return what was decided."""
        connection = self._connection or socket.create_connection(("127.0.0.1", self._port), timeout=20)
        self._connection = None
        try:
            found = decision(connection, target)
        except ConnectionError:
            connection.close()
            return self.ask(target)
        if found[:3] == "400":
            # whoever refuses a request closes the connection
            connection.close()
        else:
            self._connection = connection
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()


@pytest.fixture
def askers(apps_fpm: LocalFPM, tmp_path: Path) -> Iterator[tuple[Asker, Asker]]:
    """nginx and ours, before the same site."""
    site = Decisions(tmp_path / "site", Database(tmp_path))
    site.prepare()
    folders = tmp_path / "nginx", tmp_path / "ours"
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        one = stack.enter_context(nginx(site, apps_fpm.address, folders[0]))
        other = stack.enter_context(ours(site, apps_fpm.address, folders[1]))
        found = Asker(one), Asker(other)
        for asker in found:
            stack.callback(asker.close)
        yield found


def test_what_answers_a_target(askers: tuple[Asker, Asker]) -> None:
    """Each of a few thousand targets runs the same script, or sends the same file, or is refused alike."""
    one, other = askers
    used: Counter[Difference] = Counter()
    unexpected = []
    for target in targets():
        theirs, own = one.ask(target), other.ask(target)
        if theirs != own:
            found = next((known for known in EXPECTED if known.covers(target, theirs, own)), None)
            if found is None:
                unexpected.append(f"{target}: nginx {theirs!r}, ours {own!r}")
            else:
                used[found] += 1
    if unexpected:
        pytest.fail("\n".join(unexpected), pytrace=False)
    assert [known.reason for known in EXPECTED if not used[known]] == []
