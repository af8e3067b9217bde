"""Each mistake is told with what happened, where, and what to do about it."""

from __future__ import annotations

from inspect import isawaitable
from pathlib import Path

import anyio
import pytest

from fcgi_async import LocalFPM
from tests.mistakes import arguments, durable, endpoints, order, surroundings
from tests.mistakes.mistake import Here, Mistake

TABLES = {
    "job": arguments.JOBS,
    "settings": arguments.SETTINGS,
    "address": endpoints.ADDRESSES,
    "socket": endpoints.SOCKETS,
    "script": endpoints.SCRIPTS,
    "dispatcher": order.DISPATCHERS,
    "part": order.PARTS,
    "database": durable.DATABASES,
    "put": durable.PUTS,
    "task": durable.TASKS,
    "fpm": surroundings.FPM,
    "extra": surroundings.EXTRAS,
    "asgi": surroundings.ASGI,
    "kit": surroundings.KIT,
}
MISTAKES = {f"{kind}: {mistake.name}": mistake for kind, table in TABLES.items() for mistake in table}
# more than a mistake takes to be told
SECONDS = 20


def test_no_two_have_one_name() -> None:
    """So that none hides another."""
    assert len(MISTAKES) == sum(map(len, TABLES.values()))


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake(
    fpm: LocalFPM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: Mistake, anyio_backend: str
) -> None:
    """Its message has what happened, where, and the cure."""
    with pytest.raises(mistake.error) as caught, anyio.fail_after(SECONDS):
        made = mistake.cause(Here(fpm, tmp_path, monkeypatch))
        if isawaitable(made):
            await made
    message = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert mistake.what in message
    assert mistake.where in message
    assert mistake.cure in message
