"""The parser alone: ClientConnection.receive_data() on bytes that are in memory, without sockets or event loops.

Usage: python -m benchmarks.contenders.ours_parser SETTING small|large

`small`: a typical answer in one piece (STDOUT of a head and two bytes, END_REQUEST, the tail probe's answer), again and
again; only receive_data() is timed, not the verbs between. `large`: records of 65,528 bytes in pieces of
256 KiB, as a socket gives them.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

from benchmarks.contenders.setting import Setting
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.records import encode_record
from fcgi_async.wire.spec import RecordType

HEAD = b"X-Powered-By: PHP/8.2.0\r\nContent-type: text/html; charset=UTF-8\r\n\r\n"
VALUES = encode_record(RecordType.GET_VALUES_RESULT, 0, b"")
RECORD, PIECE = 65528, 256 * 1024
# ids are 16 bits: a connection is replaced before they run out
REQUESTS = 10_000


def begin(client: ClientConnection) -> int:
    request_id = client.begin_request()
    client.send_params(request_id, [b"\1\0a"])
    client.send_stdin(request_id, end=True)
    client.get_values()
    client.data_to_send()
    return request_id


def small(jobs: int) -> tuple[float, int, int]:
    """Return seconds, records and bytes."""
    seconds, records, size = 0.0, 0, 0
    client = ClientConnection()
    for number in range(jobs):
        if number % REQUESTS == 0:
            client = ClientConnection()
        request_id = begin(client)
        end = encode_record(RecordType.END_REQUEST, request_id, bytes(8))
        data = encode_record(RecordType.STDOUT, request_id, HEAD + b"ok") + end + VALUES
        begun = perf_counter()
        events = client.receive_data(data)
        seconds += perf_counter() - begun
        records, size = records + len(events), size + len(data)
    return seconds, records, size


def large(jobs: int) -> tuple[float, int, int]:
    """Return seconds, records and bytes."""
    client = ClientConnection()
    record = encode_record(RecordType.STDOUT, begin(client), bytes(RECORD))
    stream = record * jobs
    pieces = [stream[at : at + PIECE] for at in range(0, len(stream), PIECE)]
    del stream
    begun = perf_counter()
    for piece in pieces:
        client.receive_data(piece)
    return perf_counter() - begun, jobs, len(record) * jobs


def main(setting: Setting, what: str) -> None:
    measure = {"small": small, "large": large}[what]
    measure(setting.warm_up)
    seconds, records, size = measure(setting.jobs)
    print(json.dumps({"jobs": records, "wall": seconds, "cpu": seconds, "size": size / records}))


if __name__ == "__main__":
    main(Setting.given(), sys.argv[2])
