"""Messages of real brokers: NATS JetStream, and Valkey, which speaks as Redis does."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import coredis
import nats
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Intake, Jobs, Task
from tests.eventually import eventually
from tests.jobs.intake.brokers import NATS, Broker, Valkey
from tests.jobs.polling import until

pytestmark = pytest.mark.anyio

MAIL = Task("mail", "/mail.php")
STREAM = "jobs"
SCRIPTS = Path(__file__).parent.parent / "scripts"
# of the messages that the short test and the long one send, and those that a broker is killed between
SHORT, LONG, AT_ONCE = 600, 10_000, 100


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A Valkey that the tests of this file share, each with a database of its own."""
    with Valkey() as broker:
        yield broker


@pytest.fixture
async def redis(valkey: Valkey, anyio_backend: object) -> AsyncIterator[coredis.Redis[bytes]]:
    """A client of it; the database is emptied."""
    async with coredis.Redis.from_url(valkey.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def jobs(anyio_backend: object, tmp_path: Path) -> AsyncIterator[Jobs]:
    """An empty database."""
    async with Jobs(f"sqlite://{tmp_path / 'jobs.db'}") as jobs:
        yield jobs


async def taken(intake: Intake, done: Callable[[], object]) -> None:
    """Run an intake until a condition holds."""
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run)
        await eventually(done)
        intake.stop()


async def test_a_stream_of_redis(redis: coredis.Redis[bytes], valkey: Valkey, jobs: Jobs) -> None:
    """Each message becomes a job and leaves the stream, whatever field it is in; what never can is put aside."""
    await redis.xadd(STREAM, {"message": json.dumps({"task": "mail", "data": 1})})
    await redis.xadd(STREAM, {"body": json.dumps({"task": "mail", "data": 2})})
    await redis.xadd(STREAM, {"message": "no JSON"})
    intake = Intake(jobs, valkey.url, stream=STREAM, tasks=[MAIL])
    await taken(intake, lambda: (intake.taken, intake.refused) == (2, 1))
    assert [record.data for record in await jobs.find()] == ["1", "2"]
    assert await redis.xlen(STREAM) == 0
    [refused] = await redis.xrange(f"{STREAM}:refused")
    assert refused.field_values[b"message"] == b"no JSON"
    assert b"JSON" in refused.field_values[b"reason"]


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_messages_of_php(redis: coredis.Redis[bytes], valkey: Valkey, jobs: Jobs) -> None:
    """Symfony's transport for Redis puts jobs, and so does a plain socket of PHP."""
    await run_php("symfony_redis.php", f"{valkey.url}/messages/symfony?delete_after_ack=1")
    await run_php("redis_socket.php", valkey.url.removeprefix("redis://"), STREAM)
    types = {"App\\Message\\Mail": "mail"}
    for stream, form in (("messages", "symfony"), (STREAM, "job")):
        intake = Intake(jobs, valkey.url, stream=stream, tasks=[MAIL], form=form, types=types)  # type: ignore[arg-type]
        await taken(intake, lambda intake=intake: intake.taken == 1)  # type: ignore[misc]
    assert [json.loads(record.data)["to"] for record in await jobs.find()] == ["a@example.org", "b@example.org"]


async def run_php(script: str, *arguments: str) -> None:
    """Run one of PHP's sides."""
    done = await anyio.run_process(["php", str(SCRIPTS / script), *arguments], check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


async def test_a_message_of_a_lost_intake_is_taken_over(
    redis: coredis.Redis[bytes], valkey: Valkey, jobs: Jobs
) -> None:
    """Another takes it over after `lost_after`; one that was put already is put once."""
    await redis.xgroup_create(STREAM, "fcgi_async", identifier="0", mkstream=True)
    for data in range(3):
        await redis.xadd(STREAM, {"message": json.dumps({"task": "mail", "data": data})})
    await redis.xreadgroup("fcgi_async", "gone", {STREAM: ">"})
    intake = Intake(jobs, valkey.url, stream=STREAM, tasks=[MAIL], lost_after=1, keep=True)
    await taken(intake, lambda: intake.taken == 3)
    # the same again, by another group
    other = Intake(jobs, valkey.url, stream=STREAM, tasks=[MAIL], group="other")
    await taken(other, lambda: other.taken == 3)
    assert (await jobs.counts()).states["ready"] == 3


async def test_a_key_that_is_not_a_stream(redis: coredis.Redis[bytes], valkey: Valkey, jobs: Jobs) -> None:
    """It is told, and not tried again for ever."""
    await redis.set(STREAM, "text")
    with pytest.raises(ConfigurationError, match=r"WRONGTYPE|wrong kind"):
        await Intake(jobs, valkey.url, stream=STREAM, tasks=[MAIL]).run()


async def test_a_database_that_is_unreachable_for_a_while(
    redis: coredis.Redis[bytes], valkey: Valkey, jobs: Jobs, tmp_path: Path
) -> None:
    """Messages stay in the broker until the database is back."""
    await redis.xadd(STREAM, {"message": '{"task":"mail"}'})
    intake = Intake(jobs, valkey.url, stream=STREAM, tasks=[MAIL])
    await jobs.store.aclose()
    async with anyio.create_task_group() as group:
        group.start_soon(intake.run)
        await eventually(lambda: intake._silent)
        assert (intake.taken, await redis.xlen(STREAM)) == (0, 1)
        await jobs.store.open()
        await eventually(lambda: intake.taken == 1)
        intake.stop()
    assert (await jobs.counts()).states["ready"] == 1


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
@pytest.mark.parametrize("encoded_url", ["LATIN1"], indirect=True)
async def test_a_message_that_the_database_rejects(
    redis: coredis.Redis[bytes], valkey: Valkey, encoded_url: str
) -> None:
    """It is put aside, and holds up none of those that came with it."""
    for key in ("a", "→", "b"):
        await redis.xadd(STREAM, {"message": json.dumps({"task": "mail", "unique": key})})
    async with Jobs(encoded_url) as jobs:
        intake = Intake(jobs, valkey.url, stream=STREAM, tasks=[MAIL])
        await taken(intake, lambda: (intake.taken, intake.refused) == (2, 1))
        assert [record.unique for record in await jobs.find()] == ["a", "b"]


async def test_an_unknown_broker(jobs: Jobs) -> None:
    """The message names those that are."""
    with pytest.raises(ConfigurationError, match="nats://host:4222 or redis://"):
        Intake(jobs, "amqp://localhost", stream=STREAM, tasks=[MAIL])


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
async def test_a_stream_of_jetstream(jobs: Jobs) -> None:
    """Each message becomes a job; one that was sent twice under one name is one job, and what never can is dropped."""
    with NATS() as broker:
        client = await nats.connect(broker.url)
        stream = client.jetstream()
        with pytest.raises(ConfigurationError, match="no such stream"):
            await Intake(jobs, broker.url, stream=STREAM, tasks=[MAIL]).run()
        await stream.add_stream(name=STREAM, subjects=["jobs.>"], duplicate_window=0.1)
        for name in ("a", "b"):
            await stream.publish("jobs.mail", b'{"task": "mail"}', headers={"Nats-Msg-Id": name})
        await stream.publish("jobs.mail", b"no JSON")
        intake = Intake(jobs, broker.url, stream=STREAM, tasks=[MAIL])
        await taken(intake, lambda: (intake.taken, intake.refused) == (2, 1))

        async def acknowledged() -> bool:
            found = await stream.consumer_info(STREAM, "fcgi_async")
            return (found.num_ack_pending, found.num_pending) == (0, 0)

        await until(acknowledged)
        await client.close()
    assert (await jobs.counts()).states["ready"] == 2


def start(jobs: str, broker: Broker) -> subprocess.Popen[bytes]:
    """Start the command."""
    command = [sys.executable, "-m", "fcgi_async", "jobs", "intake", "--jobs", jobs, broker.url, "--stream", STREAM]
    # what was in the hands of one that was killed comes back soon
    return subprocess.Popen([*command, "--task", "mail", "--lost-after", "1"], stderr=subprocess.DEVNULL)


async def send_to_valkey(broker: Broker, numbers: range) -> None:
    async with coredis.Redis.from_url(broker.url) as client, client.pipeline(transaction=False) as pipeline:
        for number in numbers:
            pipeline.xadd(STREAM, {"message": json.dumps({"task": "mail", "data": number})})


async def send_to_nats(broker: Broker, numbers: range) -> None:
    client = await nats.connect(broker.url)
    stream = client.jetstream()
    try:
        await stream.add_stream(name=STREAM, subjects=["jobs.>"])
        body = [json.dumps({"task": "mail", "data": number}).encode() for number in numbers]
        await asyncio.gather(*(stream.publish("jobs.mail", one) for one in body))
    finally:
        await client.close()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"])
@pytest.mark.parametrize(
    "messages", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]
)
@pytest.mark.parametrize(("kind", "send"), [(Valkey, send_to_valkey), (NATS, send_to_nats)], ids=["valkey", "nats"])
async def test_killed_intakes_and_brokers(
    kind: type[Broker], send: Callable[[Broker, range], Any], messages: int, tmp_path: Path
) -> None:
    """The intake and the broker are killed -9 in turns: of what the broker has confirmed nothing is lost or twice."""
    url = f"sqlite://{tmp_path / 'jobs.db'}"
    part = messages // 6
    with kind() as broker:
        async with Jobs(url) as jobs:
            await send(broker, range(part))
            process = start(url, broker)
            try:
                for step in range(1, 6):

                    async def some(least: int = (step - 1) * part + 1) -> bool:
                        return (await jobs.counts()).states["ready"] >= least

                    await until(some, within=60)
                    if step % 2:
                        process.send_signal(signal.SIGKILL)
                        process.wait()
                        process = start(url, broker)
                    else:
                        broker.kill()
                        broker.start()
                    await send(broker, range(step * part, (step + 1) * part))

                async def all_of_them() -> bool:
                    return (await jobs.counts()).states["ready"] >= 6 * part

                await until(all_of_them, within=60)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
            found = [int(record.data) for record in await jobs.find(limit=2 * messages)]
    assert sorted(found) == list(range(6 * part))
    assert process.returncode == 0
