"""The examples of the command's page are command lines that the command takes."""

from __future__ import annotations

import re
import shlex

import pytest

from fcgi_async.cli import COMMANDS, make_parser
from tests.docs.blocks import DOCS

PAGE = (DOCS / "reference" / "command.md").read_text()
EXAMPLES = re.findall(r"^\$ (?:.*\| )?fcgi-async (.*?)(?: [<>|&].*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_understood(example: str) -> None:
    """Its options are there, and go together."""
    assert make_parser().parse_args(shlex.split(example)).command in COMMANDS
