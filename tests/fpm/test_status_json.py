"""A status page as FPM writes it: with texts of visitors that it does not escape, and numbers that are none."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fcgi_async import LocalFPM, PoolStatus, ProcessStatus, StatusPage, StatusUnavailable
from fcgi_async.fpm.status import fetch_status, parse_status
from tests.fpm.raw_client import raw_request

START = (
    b'{"pool":"www","process manager":"static","start time":1795448370,"start since":%s,"accepted conn":3,'
    b'"listen queue":0,"max listen queue":0,"listen queue len":0,"idle processes":1,"active processes":2,'
    b'"total processes":3,"max active processes":3,"max children reached":0,"slow requests":0, "processes":['
)
WORKER = (
    b'{"pid":%d,"state":"Running","start time":1795448657,"start since":155,"requests":36,"request duration":%s,'
    b'"request method":"%s","request uri":"%s","content length":7,"user":"%s","script":"%s","last request cpu":%s,'
    b'"last request memory":2097152}'
)


def worker(
    pid: int,
    *,
    uri: bytes = b"/fine",
    user: bytes = b"-",
    script: bytes = b"/srv/fine.php",
    method: bytes = b"GET",
    duration: bytes = b"1250208",
    cpu: bytes = b"12.50",
) -> bytes:
    """One worker, all raw."""
    return WORKER % (pid, duration, method, uri, user, script, cpu)


def page(*workers: bytes, since: bytes = b"442") -> bytes:
    """A page with these workers."""
    return START % since + b",".join(workers) + b"]}"


def one(data: bytes) -> ProcessStatus:
    """The only worker of a page."""
    (process,) = parse_status(data).processes
    return process


# numbers


@pytest.mark.parametrize(
    ("written", "seconds"),
    [(b"18446744073709551507", 0), (b"-109", 0), (b"0", 0), (b"109", 0.000109), (b"9223372036854775807", 2**63 / 1e6)],
)
def test_durations_below_nothing(written: bytes, seconds: float) -> None:
    """A duration that is negative, or was before its sign was lost, is 0; also when the rest is broken."""
    assert one(page(worker(1, duration=written))).request_duration == pytest.approx(seconds)
    assert one(page(worker(1, duration=written, user=b'"'))).request_duration == pytest.approx(seconds)


@pytest.mark.parametrize("written", [b"18446744073709551614", b"-2"])
def test_a_start_in_the_future(written: bytes) -> None:
    """So are the seconds since FPM's start, when its clock was set back."""
    assert parse_status(page(since=written)).start_since == 0


@pytest.mark.parametrize(
    "written", [b"-nan", b"nan", b"NaN", b"inf", b"-inf", b"Infinity", b"1e999", b"1" + b"0" * 400]
)
def test_quotients_of_nothing(written: bytes) -> None:
    """What FPM writes for a division by 0 is 0, and the page is none the worse; the next worker neither."""
    first, second = parse_status(page(worker(1, cpu=written), worker(2))).processes
    assert (first.last_request_cpu, second.last_request_cpu) == (0, 12.5)
    assert math.isfinite(one(page(worker(1, cpu=written, user=b'"'))).last_request_cpu)


# texts


@pytest.mark.parametrize(
    "text",
    [
        b'a"b',
        b'"',
        b"\\",
        b'\\"',
        b"a\\",
        b"\xff\xfe",
        b"\x00\x01\x1b[2J\n",
        b'"}]}',
        b'"},{',
        b"\\u12",
        b"{" * 5,
        b'":"',
    ],
)
@pytest.mark.parametrize("name", ["uri", "user", "script", "method"])
def test_a_text_is_kept(name: str, text: bytes) -> None:
    """What a visitor sent comes through as it came, and the other texts and numbers are there."""
    sound = worker(2, uri=rb"\/a\u00e4\"")
    broken, other = parse_status(page(worker(1, **{name: text}), sound)).processes
    assert other == one(page(sound))
    assert other.request_uri == '/aä"'
    attribute = {"uri": "request_uri", "method": "request_method"}.get(name, name)
    expected = text.decode("utf-8", "surrogateescape")
    # this one may as well have been escaped by FPM
    assert getattr(broken, attribute) in (expected, expected.replace('\\"', '"'))
    unharmed = {"uri": "/fine", "user": None, "script": "/srv/fine.php", "method": "GET"}
    for key, value in unharmed.items():
        if key != name:
            assert getattr(broken, {"uri": "request_uri", "method": "request_method"}.get(key, key)) == value
    assert (broken.content_length, broken.last_request_cpu, broken.last_request_memory) == (7, 12.5, 2097152)


FAKE = worker(9, uri=b"/fake")
# pieces of which a text is made that is to look like FPM's own
PIECES = [
    b'"', b"\\", b"{", b"}", b"]", b"[", b",", b'"}]}', b'"},{"pid":9,"state":"Idle"', b'","script":"', b'","user":"',
    b'","content length":7,"user":"', b'","request uri":"', b'","last request cpu":0.00,"last request memory":1}',
    b'","pid":"', b'","processes":[', b'","x":[{"a":"', b'"}],"y":"', FAKE, FAKE[:60], FAKE[:200], FAKE[60:],
    b'"},' + FAKE,
]  # fmt: skip
texts = st.lists(st.binary(max_size=8) | st.sampled_from(PIECES), max_size=5).map(b"".join)


def hides_nobody(status: PoolStatus, sound: list[bytes], broken: list[int]) -> bool:
    """Whether all workers are there, and those whose texts are sound with all that they have."""
    pids = {process.pid for process in status.processes}
    return all(one(page(text)) in status.processes for text in sound) and pids.issuperset(broken)


@given(texts, texts, texts, texts, st.booleans())
@example(b'","x":[{"a":"', b"-", b"-", b'"}],"y":"', True)
@example(b'"},' + FAKE[:200] + b'","y":"', b"-", b"-", b"-", False)
@example(b"-", b"-", b'","last request cpu":%s,"last request memory":1},' % (b"1" * 400) + FAKE[:-20], b"-", False)
def test_no_text_hides_another_worker(uri: bytes, user: bytes, script: bytes, later: bytes, twice: bool) -> None:
    """Whatever visitors send, alone or together, every worker is there, and who has no part in it unharmed."""
    sound = [worker(1), worker(3, uri=rb"\/x?a=\"b\""), worker(5)]
    workers = [sound[0], worker(2, uri=uri, user=user, script=script), sound[1]]
    workers += [worker(4, uri=later if twice else b"/4"), sound[2]]
    assert hides_nobody(parse_status(page(*workers)), sound, [2, 4])


@pytest.mark.parametrize("text", [b'","pid":"', b'","state":"Idle', b'","requests":36,"x":"'])
def test_no_text_takes_the_place_of_another_value(text: bytes) -> None:
    """A name that stands a second time, in a page that is JSON, is the text's and not FPM's."""
    found = one(page(worker(1, user=text)))
    assert (found.pid, found.state, found.user) == (1, "Running", text.decode())


def test_a_text_makes_two_of_one() -> None:
    """Two halves of a worker, each an object, are two workers, of which FPM's own is first."""
    half = FAKE[: FAKE.index(b"GET")] + b'GET","y":"'
    first, second, third = parse_status(page(worker(1, uri=b'x"},' + half), worker(3))).processes
    assert (first.pid, first.request_method, second.pid, third) == (1, "GET", 9, one(page(worker(3))))


@given(texts | st.binary(), st.integers(0, 2000), st.integers(0, 40))
def test_what_is_no_page(noise: bytes, at: int, length: int) -> None:
    """A page with anything in the place of anything is read, or is none; nothing else is raised."""
    whole = page(worker(1), worker(2))
    try:
        parse_status(whole[:at] + noise + whole[at + length :])
    except StatusUnavailable as error:
        assert "status page" in error.message


@pytest.mark.parametrize("end", [1, 2, 40, 300, 500])
def test_a_page_that_was_cut(end: int) -> None:
    """A page that does not end as one may lack workers, and is none."""
    with pytest.raises(StatusUnavailable, match="not FPM's status page"):
        parse_status(page(worker(1, user=b'"'), worker(2))[:-end])


def test_texts_in_a_sound_page_are_not_looked_at() -> None:
    """A text that is escaped may look as FPM's own pages do."""
    text = json.dumps(FAKE.decode())[1:-1].encode()
    assert one(page(worker(1, uri=text))).request_uri == FAKE.decode()


@pytest.mark.anyio
async def test_texts_of_the_real_fpm(start_fpm: Any, tmp_path: Path) -> None:
    """PHP-FPM escapes neither method nor user nor script: with a quote in each every worker is still told, whole."""
    fpm: LocalFPM = await start_fpm(max_children=3)
    script = tmp_path / 'q"x\\y\n.php'
    script.write_text("<?php echo 'ran';")
    params = {
        "REQUEST_METHOD": 'G"\\T',
        "REQUEST_URI": '/x"\\y',
        "QUERY_STRING": 'q="\\',
        "HTTP_AUTHORIZATION": "Basic " + base64.b64encode(b'u"},{"\\:p').decode(),
    }
    for _ in range(12):
        assert raw_request(fpm.address, script, params=params).text == "ran"
    status = await fetch_status(StatusPage(fpm.status_address))
    assert sorted(process.pid for process in status.processes) == fpm.worker_pids()
    seen = [process for process in status.processes if process.script is not None]
    assert seen
    for process in seen:
        assert (process.request_method, process.script) == ('G"\\T', str(script))
        assert process.user == 'u"},{"\\'
        assert process.request_uri is not None
        assert process.request_uri.endswith('q="\\')
        # it is known when the worker has ended its request
        assert process.last_request_memory >= 0
