"""What a script logs is logged here while it runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fcgi_async import Dispatcher, Job, JobCancelled
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

WARNING, INFO = logging.WARNING, logging.INFO


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """One that logs, and goes on until its gate is there."""
    return Job("logs.php", query={"gate": str(tmp_path / "gate")}, tag="slow")


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """The levels and the beginnings of what PHP said."""
    texts = [record for record in caplog.records if record.name == "fcgi_async.stderr"]
    return [(record.levelno, record.getMessage().partition(".sock: ")[2].partition(" in ")[0]) for record in texts]


async def test_messages_come_while_the_script_runs(
    php: Dispatcher, job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The response has all of them at its end."""
    caplog.set_level(logging.INFO, "fcgi_async.stderr")
    handle = await php.submit(job)
    await eventually(lambda: said(caplog) == [(WARNING, "begun"), (INFO, "PHP Notice:  careful")])
    assert not handle.done()
    (tmp_path / "gate").touch()
    response = await handle
    assert said(caplog)[2:] == [(WARNING, "done")]
    assert response.stderr.count(b"PHP message: ") == 3


async def test_of_a_job_that_is_cancelled(
    php: Dispatcher, job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before is logged once, and is with the error too."""
    caplog.set_level(logging.INFO, "fcgi_async.stderr")
    handle = await php.submit(job)
    await eventually(lambda: len(said(caplog)) == 2)
    handle.cancel()
    with pytest.raises(JobCancelled) as raised:
        await handle
    assert b"begun" in raised.value.stderr
    (tmp_path / "gate").touch()
    assert len(said(caplog)) == 2
