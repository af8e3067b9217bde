"""Forms, queries and files as PHP itself would have written them, and as it reads them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcgi_async import Dispatcher, Job, LocalFPM
from fcgi_async.job.body import File
from fcgi_async.job.form import encode_pairs

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
BATCH = st.lists(st.dictionaries(TEXT, VALUE, max_size=5), min_size=1, max_size=60)

# INF is a number that JSON has not, and 1e999 one that PHP reads as INF
INFINITE = {"Infinity": "1e999", "-Infinity": "-1e999"}


def built_by_php(fpm: LocalFPM, scripts: Path, batch: list[Any], backend: str) -> list[str]:
    """What http_build_query() of PHP makes of each, in one job."""

    async def run() -> Any:
        async with Dispatcher(fpm.address, max_children=1) as php:
            content = json.dumps(batch, ensure_ascii=True)
            for name, number in INFINITE.items():
                content = content.replace(f" {name}", f" {number}").replace(f"[{name}", f"[{number}")
            return (await php.run(Job(str(scripts / "build_query.php"), content=content))).raise_for_status().json()

    queries: list[str] = anyio.run(run, backend=backend)
    return queries


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_queries_are_those_of_php(fpm: LocalFPM, scripts: Path, backend: str) -> None:
    """Whatever is nested in whatever, the query is the one of http_build_query(), byte for byte."""

    @settings(max_examples=25, deadline=None)
    @given(batch=BATCH)
    def check(batch: list[Any]) -> None:
        assert [encode_pairs("query", data) for data in batch] == built_by_php(fpm, scripts, batch, backend)

    check()


DATA: list[tuple[dict[str, Any], Any]] = [
    ({"a": {"b": "c"}}, {"a": {"b": "c"}}),
    ({"a": ["1", "2"]}, {"a": ["1", "2"]}),
    ({"a": None, "z": "1"}, {"z": "1"}),
    ({"a": [{"b": True}, {"b": False}]}, {"a": [{"b": "1"}, {"b": "0"}]}),
    ({"a": 1.5, "b": {"c": {"d": "é&=[]+~"}}}, {"a": "1.5", "b": {"c": {"d": "é&=[]+~"}}}),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("data", "expected"), DATA, ids=str)
async def test_php_reads_the_same_of_query_form_and_multipart(
    php: Dispatcher, data: dict[str, Any], expected: Any
) -> None:
    """What is nested arrives nested, in $_GET and in $_POST, however the form is sent."""
    jobs = [
        Job("inspect.php", query=data),
        Job("inspect.php", form=data),
        Job("inspect.php", form=data, files={"f": b""}),
    ]
    seen: list[Any] = [response.json() for response in await php.run_all(jobs)]
    assert [seen[0]["get"], seen[1]["post"], seen[2]["post"]] == [expected] * 3


@pytest.mark.anyio
async def test_the_deepest_name_arrives(php: Dispatcher) -> None:
    """PHP takes the 64 brackets that are allowed here."""
    deep: Any = "bottom"
    for _ in range(64):
        deep = [deep]
    got: Any = (await php.run(Job("inspect.php", form={"a": deep}))).json()
    assert got["post"] == {"a": deep}


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["post", "Post"])
async def test_a_method_in_small_letters_fills_post(php: Dispatcher, method: str) -> None:
    """PHP compares the method with "POST" as it is, so it is upper-cased."""
    got: Any = (await php.run(Job("inspect.php", method=method, form={"a": "1"}))).json()
    assert (got["post"], got["server"]["REQUEST_METHOD"]) == ({"a": "1"}, "POST")


@pytest.mark.anyio
async def test_files_in_their_short_forms(php: Dispatcher, tmp_path: Path) -> None:
    """A path, an open file, bytes, and pairs of name and content arrive in $_FILES."""
    path = tmp_path / "photo.png"
    path.write_bytes(b"pixels")
    with path.open("rb") as file:
        file.seek(3)
        files: dict[str, File] = {
            "path": path,
            "open": file,
            "bytes": b"pixels",
            "pair": ("a.csv", io.BytesIO(b"pixels")),
        }
        response = await php.run(Job("inspect.php", files=files))
    got: Any = response.json()
    assert {name: (part["name"], part["type"], part["size"]) for name, part in got["files"].items()} == {
        "path": ("photo.png", "image/png", 6),
        "open": ("photo.png", "image/png", 3),
        "bytes": ("upload", "application/octet-stream", 6),
        "pair": ("a.csv", "text/csv", 6),
    }


@pytest.mark.anyio
async def test_headers_as_pairs(php: Dispatcher) -> None:
    """Cookies that were given apart are all in $_COOKIE's header."""
    headers = [("Cookie", "a=1"), ("Accept", "text/html"), ("Cookie", "b=2"), ("Accept", "*/*")]
    got: Any = (await php.run(Job("inspect.php", headers=headers))).json()
    assert (got["server"]["HTTP_COOKIE"], got["server"]["HTTP_ACCEPT"]) == ("a=1; b=2", "text/html, */*")
