"""`fcgi-async serve --processes N`: the options of each process."""

from __future__ import annotations

import socket
from pathlib import Path

import attrs

from fcgi_async.cli import make_parser
from fcgi_async.commands.listening import Listening
from fcgi_async.commands.serve_options import ServeOptions
from fcgi_async.commands.serve_processes import _Supervisor

# every option that has an effect on a process, with another value than the default
OPTIONS = [
    *("--front=app.php", "--scripts=front", "--host=a.test", "--host=b.test", "--health", "--dev", "--verbose"),
    *("--fpm=unix:///x", "--max-children=9", "--reserve=1", "--processes=2", "--kept=1"),
    *("--jobs=a:b", "--worker=sqlite:///x", "--tasks=c:d", "--schedules=e:f"),
]


def test_each_process_has_the_options_of_the_command(tmp_path: Path) -> None:
    """All but the addresses, whose sockets it inherits; the function beside the site runs in the first only."""
    (tmp_path / "app.php").touch()
    parser = make_parser("serve")
    chosen = ServeOptions.parse(parser.parse_args(["serve", str(tmp_path), *OPTIONS]))
    with socket.socket() as one:
        supervisor = _Supervisor(chosen, [Listening(one, "127.0.0.1:0", None, True)], True, 3)
        members = [parser.parse_args(["serve", *supervisor._arguments(number, [7])]) for number in range(2)]
    assert all(member.verbose for member in members)
    first, second = map(ServeOptions.parse, members)
    assert attrs.evolve(first, listen=chosen.listen) == chosen
    assert second == attrs.evolve(first, jobs=None)
