"""What PHP sees of a request's target: the same through nginx and from a job, on the same PHP-FPM."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, InvalidJob, Job, LocalFPM
from tests.conftest import StartFPM
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

# as distributions ship it for PHP, but for the paths
NGINX = """\
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log info;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; fastcgi_temp_path {directory}/fastcgi; proxy_temp_path {directory}/proxy;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen unix:{directory}/http.sock;
        root {root};
        index index.php;
        location / {{ try_files $uri /index.php?$args; }}
        location ~ \\.php(/|$) {{
            fastcgi_split_path_info ^(.+?\\.php)(/.*)$;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param SCRIPT_NAME $fastcgi_script_name;
            fastcgi_param PATH_INFO $fastcgi_path_info;
            fastcgi_param DOCUMENT_ROOT $document_root;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_pass {fpm};
        }}
    }}
}}
"""
SCRIPT = """\
<?php
$names = ['REQUEST_URI', 'SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_INFO', 'PHP_SELF', 'QUERY_STRING', 'DOCUMENT_ROOT'];
$seen = [];
foreach ($names as $name) $seen[$name] = isset($_SERVER[$name]) ? bin2hex($_SERVER[$name]) : null;
echo json_encode([$seen, $_GET]);
"""
ODD_NAMES = ("a b.php", "what?.php", "h#h.php", "p%41.php", "ü.php", "a+b.php", "quo'te&=.php")
SCRIPTS = ("index.php", "shop/index.php", "shop/list.php", *ODD_NAMES)

# what a browser asks for, and the script that nginx finds for it
FRONT = [
    ("/orders/7", "index.php"),
    ("/orders/7?x=1&y=a%20b", "index.php"),
    ("/", "index.php"),
    ("/?x=1", "index.php"),
    ("/index.php", "index.php"),
    ("/index.php?x=1", "index.php"),
    ("/index.php/", "index.php"),
    ("/index.php/orders/7", "index.php"),
    ("/index.php/orders/7?x=/y", "index.php"),
    ("/index.php/a%20b%2Bc+d", "index.php"),
    ("/index.php/%C3%BC/%E9", "index.php"),
    ("/index.php/a%2Fb", "index.php"),
    ("/index.php/a%3Fb%23c%25d?e", "index.php"),
    ("/index.php/shop/index.php/x", "index.php"),
    ("/index.php//a//b", "index.php"),
    ("/index.php/a/./b/../c", "index.php"),
    ("/index.php/a/..", "index.php"),
    ("/index.php/a/%2E%2E/b", "index.php"),
    ("//index.php/a", "index.php"),
    ("/%69ndex.php/a", "index.php"),
    ("/x/../index.php/a", "index.php"),
    ("/shop/index.php/basket", "shop/index.php"),
    ("/shop/list.php", "shop/list.php"),
    ("/shop/list.php/page/2?all", "shop/list.php"),
    ("/shop/nothing/here", "index.php"),
]
# without `uri`: the target is made of the script's name
DIRECT = [
    ("/shop/list.php", "shop/list.php"),
    ("/a%20b.php", "a b.php"),
    ("/what%3F.php", "what?.php"),
    ("/h%23h.php", "h#h.php"),
    ("/p%2541.php", "p%41.php"),
    ("/%C3%BC.php", "ü.php"),
    ("/a+b.php", "a+b.php"),
    ("/quo'te&=.php", "quo'te&=.php"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scripts that tell what they see, with names of all kinds."""
    folder = tmp_path_factory.mktemp("site") / "public"
    for name in SCRIPTS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def nginx(fpm_here: LocalFPM, root: Path) -> Iterator[Path]:
    """Run nginx before the shared PHP-FPM, and yield its socket."""
    directory = root.parent
    configuration = directory / "nginx.conf"
    address = fpm_here.address.removeprefix("unix://")
    configuration.write_text(NGINX.format(directory=directory, root=root, fpm=f"unix:{address}"))
    command = ["nginx", "-p", str(directory), "-c", str(configuration), "-e", str(directory / "early.log")]
    with subprocess.Popen(command, env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}) as process:
        try:
            yield directory / "http.sock"
        finally:
            process.terminate()


@pytest.fixture
async def site(fpm_here: LocalFPM, root: Path) -> AsyncIterator[Dispatcher]:
    """A dispatcher on the same PHP-FPM, with the same root."""
    async with Dispatcher(Endpoint(fpm_here.address, max_children=1, root=root)) as php:
        yield php


def listens(path: Path) -> bool:
    """Whether somebody listens on a socket; its file is there before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


async def through_nginx(path: Path, target: str) -> Any:
    """What PHP sees of a target that a browser asks nginx for."""
    await eventually(lambda: listens(path))
    async with await anyio.connect_unix(path) as stream:
        await stream.send(f"GET {target} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
        answer = b"".join([part async for part in stream])
    head, _, content = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], answer
    return plain(json.loads(content))


def plain(answer: Any) -> Any:
    """What a script told, readable."""
    seen, query = answer
    decoded = {name: None if value is None else bytes.fromhex(value) for name, value in seen.items()}
    return decoded, query


@pytest.mark.parametrize(("target", "script"), FRONT)
async def test_uri_as_through_nginx(nginx: Path, site: Dispatcher, target: str, script: str) -> None:
    """A job with the target as its `uri` looks to PHP as the request does that nginx passes on."""
    expected = await through_nginx(nginx, target)
    assert expected[0]["SCRIPT_NAME"] == f"/{script}".encode()
    assert plain((await site.run(Job(script, uri=target))).json()) == expected


@pytest.mark.parametrize("query", ["", "x=1&y=a%20b"])
@pytest.mark.parametrize(("target", "script"), DIRECT)
async def test_script_as_through_nginx(nginx: Path, site: Dispatcher, target: str, script: str, query: str) -> None:
    """A job that names a script alone looks as a request for it does, but that PATH_INFO is left out."""
    seen, arguments = await through_nginx(nginx, f"{target}?{query}" if query else target)
    assert seen["SCRIPT_NAME"].decode() == unquote(target)
    assert seen.pop("PATH_INFO") == b""
    ours = plain((await site.run(Job(script, query=query or None))).json())
    assert ours[0].pop("PATH_INFO") is None
    assert ours == (seen, arguments)


async def test_path_info_of_the_callers_own(site: Dispatcher) -> None:
    """A front controller that expects PATH_INFO gets it beside `uri`, and PHP_SELF follows."""
    job = Job("index.php", uri="/orders/7", params={"PATH_INFO": "/orders/7"})
    seen, _ = plain((await site.run(job)).json())
    assert (seen["REQUEST_URI"], seen["PATH_INFO"]) == (b"/orders/7", b"/orders/7")
    assert seen["PHP_SELF"] == b"/index.php/orders/7"


async def test_root_confines(site: Dispatcher, root: Path) -> None:
    """A script outside of the root does not run, however it is named; one inside does, also by its absolute name."""
    outside = root.parent / "outside.php"
    outside.write_text(f"<?php touch('{root.parent}/ran');")
    scripts: list[str | Path] = [outside, f"{root}/../outside.php", "../outside.php", "shop/../../outside.php"]
    for script in scripts:
        with pytest.raises(InvalidJob, match="leads out of the endpoint's root"):
            await site.run(Job(script))
    assert not (root.parent / "ran").exists()
    inside: list[str | Path] = [root / "index.php", f"{root}/shop/../index.php"]
    assert [response.status for response in await site.run_all(Job(script) for script in inside)] == [200, 200]


async def test_no_other_parameter_names_a_script(start_fpm: StartFPM, root: Path) -> None:
    """FPM without cgi.fix_pathinfo runs PATH_TRANSLATED instead of the script, so a job cannot have it."""
    outside = root.parent / "elsewhere.php"
    outside.write_text("<?php echo 'elsewhere';")
    fpm = await start_fpm(max_children=1, ini={"cgi.fix_pathinfo": "0"})
    job = Job("index.php", params={"PATH_TRANSLATED": str(outside)})
    settings: dict[str, Any] = {"max_children": 1, "root": root}
    async with Dispatcher(Endpoint(fpm.address, **settings)) as php:
        with pytest.raises(InvalidJob, match=r"the parameter PATH_TRANSLATED is refused: with cgi\.fix_pathinfo=0"):
            await php.run(job)
    async with Dispatcher(Endpoint(fpm.address, allow_params={"PATH_TRANSLATED"}, **settings)) as php:
        assert (await php.run(job)).text == "elsewhere"
