"""Whatever the path: nothing outside the root, nothing that is not a regular file, and no source."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fcgi_async.asgi.php_application.lookup import FoundFile, FoundFolder, FoundScript, Site
from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.asgi.php_application.request_head import read_head
from fcgi_async.asgi.php_application.rules import HIDDEN, NO_SCRIPTS, HiddenRules, ScriptRules
from fcgi_async.asgi.php_application.target import parse_target, quoted
from tests.asgi.php_application.site import FILES, build

# what paths of attacks are made of
PIECES = st.sampled_from(
    [
        *(name.encode() for path in FILES for name in path.split("/")),
        *b"/ // . .. ... %2e %2E%2e %2f %5c %00 %0a %20 ; : ~ % %zz %25 %252e \\ # ? * //".split(b" "),
        *b"link fifo fifo.php dir.php bare outside secret.txt secret.php .php .PHP php %70hp".split(b" "),
        "\u017f".encode(),
        "\u212a".encode(),
        b"\xff",
        b"http://a",
    ]
)
PATHS = st.one_of(
    st.lists(PIECES, max_size=12).map(lambda pieces: b"/" + b"/".join(pieces)),
    st.lists(PIECES, max_size=12).map(b"".join),
    st.binary(max_size=40),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every kind of file; no link leads out of it but `link`."""
    root = tmp_path_factory.mktemp("fuzz") / "root"
    root.mkdir()
    build(root)
    return root


def site(follow_symlinks: bool) -> Site:
    """What finds files there."""
    return Site(
        front=b"/index.php",
        index=(b"index.php", b"index.html"),
        scripts=ScriptRules("any", NO_SCRIPTS, b"/index.php"),
        hidden=HiddenRules(HIDDEN),
        missing_script=404,
        follow_symlinks=follow_symlinks,
        files=True,
    )


@given(raw=PATHS, follow=st.booleans())
@example(b"/link/../../outside/secret.txt", True)
@example(b"/%2e%2e/outside/secret.txt", True)
@example(b"/page.php\xc5\xbf", True)
@example(b"/fifo", True)
def test_any_path(root: Path, raw: bytes, follow: bool) -> None:
    """What is found is below the root, a regular file, not hidden, and no source."""
    base = os.fsencode(root)
    try:
        target = parse_target(raw, b"", b"")
        found = site(follow).find(base, target.path)
    except Refusal as refusal:
        assert refusal.status in (400, 403, 404)
        return
    assert b".." not in target.path.split(b"/")
    assert not set(target.path) & {*range(32), 127, ord("\\")}
    if isinstance(found, FoundFolder):
        location = quoted(found.name)
        assert not location.startswith("//")
        assert found.name.endswith(b"/")
        return
    assert not any(segment.startswith(b".") and segment != b".well-known" for segment in found.name.split(b"/"))
    path = base + found.name
    assert stat.S_ISREG(os.stat(path).st_mode)
    real = os.path.realpath(path)
    outside = not real.startswith(base + b"/")
    assert not outside or (follow and found.name.startswith(b"/link/"))
    if isinstance(found, FoundScript):
        assert found.name.endswith(b".php")
        assert not found.name.startswith(tuple(prefix.encode() for prefix in NO_SCRIPTS))
        assert found.path_info[:1] in (b"", b"/")
    else:
        assert isinstance(found, FoundFile)
        assert b".php" not in found.name.lower()


def test_quoted_path_names_no_host() -> None:
    """Whatever a mount begins with."""
    assert quoted(b"//evil.test/a b/") == "/evil.test/a%20b/"


@given(raw=PATHS, mount=st.sampled_from([b"", b"/blog", b"/a b"]))
def test_any_target_below_a_mount(raw: bytes, mount: bytes) -> None:
    """No path leads out of it."""
    try:
        target = parse_target(raw, b"a=1", mount)
    except Refusal:
        return
    assert target.path == b"" or target.path.startswith(b"/")
    assert target.mount == mount


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.sampled_from(
                    b"host proxy Proxy x_foo x-foo content-length transfer-encoding php_value cookie te".split()
                ),
                st.binary(min_size=1, max_size=12),
            ),
            st.binary(max_size=12),
        ),
        max_size=6,
    )
)
def test_any_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """Only HTTP_* and CONTENT_TYPE come of them, and never HTTP_PROXY."""
    try:
        head = read_head(headers)
    except Refusal as refusal:
        assert refusal.status in (400, 501)
        return
    assert all(name == "CONTENT_TYPE" or re.fullmatch("HTTP_[A-Z0-9_]+", name) for name in head.params)
    assert "HTTP_PROXY" not in head.params
    assert head.length is None or head.length >= 0
