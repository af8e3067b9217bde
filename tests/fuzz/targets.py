"""All targets, by name."""

from __future__ import annotations

from typing import Final

from tests.fuzz.client import CLIENT, MULTIPLEXING
from tests.fuzz.head import HEAD
from tests.fuzz.pairs import PAIRS
from tests.fuzz.server import SERVER

TARGETS: Final = {target.name: target for target in (CLIENT, MULTIPLEXING, SERVER, PAIRS, HEAD)}
