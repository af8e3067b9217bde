"""Which path is answered by what: a script, a file, the front controller, or an error."""

from __future__ import annotations

import pytest

from tests.asgi.php_application.site import SECRET, Site

pytestmark = pytest.mark.anyio

FRONT = "/index.php"
# target: the SCRIPT_NAME that runs, with its PATH_INFO; an error; or the text of a file
CASES: dict[str, tuple[str, str] | int | bytes] = {
    "/": (FRONT, ""),
    "/?a=1": (FRONT, ""),
    "/index.php": (FRONT, ""),
    "/index.php/": (FRONT, "/"),
    "/index.php/a/b": (FRONT, "/a/b"),
    "/index.php/a%20b": (FRONT, "/a b"),
    "/index.php/x.php": (FRONT, "/x.php"),
    # no file of ours: a page's title, or a user's file in WebDAV
    "/index.php/.NET": (FRONT, "/.NET"),
    "/page.php/a/.env": ("/page.php", "/a/.env"),
    "/page.php/dump.sql": ("/page.php", "/dump.sql"),
    "/page.php/x.phtml/composer.json": ("/page.php", "/x.phtml/composer.json"),
    "/page.php": ("/page.php", ""),
    "/page.php/x": ("/page.php", "/x"),
    "/pa%67e.php": ("/page.php", ""),
    "/page%2ephp": ("/page.php", ""),
    "//page.php": ("/page.php", ""),
    "/./page.php": ("/page.php", ""),
    "/blog/../page.php": ("/page.php", ""),
    "/blog/%2e%2e/page.php": ("/page.php", ""),
    "/page.php?x=/../..": ("/page.php", ""),
    "/blog/": ("/blog/index.php", ""),
    "/blog/index.php": ("/blog/index.php", ""),
    "/wp-admin/": ("/wp-admin/index.php", ""),
    "/nowhere": (FRONT, ""),
    "/nowhere/at/all": (FRONT, ""),
    "/bare/": (FRONT, ""),
    "/style.css/": (FRONT, ""),
    "/style.css/x": (FRONT, ""),
    "/fifo": (FRONT, ""),
    "/uploads/": (FRONT, ""),
    "/" + "x" * 300: (FRONT, ""),
    "/a\u00fc": (FRONT, ""),
    "/%ff%fe": (FRONT, ""),
    "/style.css": b"body { color: red }\n",
    "/style.css?v=1": b"body { color: red }\n",
    "/blog/../style.css": b"body { color: red }\n",
    "/sub/": b"<p>sub",
    "/sub/index.html": b"<p>sub",
    "/with%20blank.txt": b"blank",
    "/%C3%BCmlaut.txt": "ü".encode(),
    "/.well-known/acme": b"token",
    "/link/secret.txt": b"outside",
    "/empty.txt": b"",
    # there, and not for anybody
    "/.env": 404,
    "/%2eenv": 404,
    "/.git/config": 404,
    "/.git/": 404,
    "/.htaccess": 404,
    "/.nothing": 404,
    "/blog/.env": 404,
    "/.well-known/.env": 404,
    "/.well-known-not/x": 404,
    "/.git/page.php": 404,
    "/.git/page.php/x": 404,
    "/UPPER.PHP": 404,
    "/other.PhP": 404,
    "/dots.php.": 404,
    "/a.phtml": 404,
    "/A.PHTML": 404,
    "/secret.phps": 404,
    "/page.php.bak": 404,
    "/config.php~": 404,
    "/old.php7": 404,
    "/lib.inc": 404,
    "/x.phar": 404,
    "/x.orig": 404,
    "/x.swp": 404,
    "/dump.sql": 404,
    "/composer.json": 404,
    "/composer.lock": 404,
    "/COMPOSER.JSON": 404,
    # scripts that do not run
    "/nowhere.php": 404,
    "/nowhere.php/x": 404,
    "/dir.php": 404,
    "/dir.php/x": 404,
    "/fifo.php": 404,
    "/.php": 404,
    "/x.php.": (FRONT, ""),
    "/page.php%20": (FRONT, ""),
    "/uploads/evil.php": 404,
    "/uploads/evil.php/x.jpg": 404,
    "//uploads/evil.php": 404,
    "/%75ploads/evil.php": 404,
    "/blog/../uploads/evil.php": 404,
    "/uploads/index.php": 404,
    "/wp-content/uploads/evil.php": 404,
    "/uploads/evil.jpg/x.php": 404,
    "/style.css/x.php": 404,
    # no paths
    "/..": 400,
    "/../x": 400,
    "/../root/page.php": 400,
    "/%2e%2e/x": 400,
    "/..%2fx": 400,
    "/blog/../../outside/secret.txt": 400,
    "/blog%2f..%2f..%2fx": 400,
    "/..%5cx": 400,
    "/a%5cb": 400,
    "/%": 400,
    "/%zz": 400,
    "/%4": 400,
    "/a%00": 400,
    "/page.php%00": 400,
    "/uploads/evil.jpg%00.php": 400,
    "/page.php%0a": 400,
    "/page.php%0A/x": 400,
    "/x%0d%0aSet-Cookie:a": 400,
    "/%7f": 400,
    "/page.php x": 400,
    "x": 400,
    "*": 400,
}


@pytest.mark.parametrize(("target", "expected"), CASES.items(), ids=[*map(ascii, CASES)])
async def test_target(site: Site, target: str, expected: tuple[str, str] | int | bytes) -> None:
    """Each target has one answer, and none shows the source of a script."""
    answer = await site.ask(target)
    assert SECRET not in answer.body
    if isinstance(expected, int):
        assert answer.status == expected
        assert not site.responder.requests
    elif isinstance(expected, bytes):
        assert (answer.status, answer.body) == (200, expected)
        assert not site.responder.requests
    else:
        params = answer.params()
        assert (params["SCRIPT_NAME"], params["PATH_INFO"]) == expected
        assert params["SCRIPT_FILENAME"] == f"{site.root}{expected[0]}"
        assert params["REQUEST_URI"] == target
