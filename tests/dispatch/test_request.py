"""From a job to the parameters that an endpoint gets."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest

from fcgi_async.dispatch.request import DEFAULT_PARAMS, FORBIDDEN_PARAMS, RequestEncoder
from fcgi_async.errors import ConfigurationError, InvalidJob
from fcgi_async.job.job import Job
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.wire.records import decode_pairs
from fcgi_async.wire.spec import Role

ADDRESS = "unix:///run/php.sock"


def encoder(**settings: Any) -> RequestEncoder:
    """The encoder of an endpoint."""
    return RequestEncoder(Endpoint(ADDRESS, **settings))


def params(job: Job, **settings: Any) -> dict[str, str]:
    """The parameters that an endpoint gets for a job."""
    encoding = encoder(**settings)
    encoding.check(job)
    request = encoding.encode(job)
    assert all(0 < len(content) <= 65535 for content in request.params)
    pairs = [pair for content in request.params for pair in decode_pairs(content)]
    found = {name.decode(): value.decode("utf-8", "surrogateescape") for name, value in pairs}
    assert len(found) == len(pairs), "a parameter was sent twice"
    return found


def test_default_parameters() -> None:
    """These are sent with every job; the same table stands in the documentation."""
    assert params(Job("/srv/app/job.php")) == {
        "DOCUMENT_ROOT": "/srv/app",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTP_HOST": "localhost",
        "QUERY_STRING": "",
        "REDIRECT_STATUS": "200",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "0",
        "REQUEST_METHOD": "GET",
        "REQUEST_SCHEME": "http",
        "REQUEST_URI": "/job.php",
        "SCRIPT_FILENAME": "/srv/app/job.php",
        "SCRIPT_NAME": "/job.php",
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "fcgi_async",
    }


def test_body_parameters() -> None:
    """A body brings its length, its type and POST."""
    found = params(Job("/a.php", json={"id": 7}))
    assert (found["CONTENT_LENGTH"], found["CONTENT_TYPE"], found["REQUEST_METHOD"]) == (
        "8",
        "application/json",
        "POST",
    )


def test_empty_body_is_a_body() -> None:
    """An empty body is sent as one, with a length of 0."""
    found = params(Job("/a.php", content=b""))
    assert (found["CONTENT_LENGTH"], found["REQUEST_METHOD"]) == ("0", "POST")
    assert "CONTENT_TYPE" not in found
    assert "CONTENT_LENGTH" not in params(Job("/a.php"))


def test_method_given() -> None:
    """A method that is given is the one, with a body or without."""
    assert params(Job("/a.php", method="DELETE"))["REQUEST_METHOD"] == "DELETE"
    assert params(Job("/a.php", method="PUT", content=b"x"))["REQUEST_METHOD"] == "PUT"


def test_content_type_header_wins() -> None:
    """A Content-Type header replaces the one that the body brings."""
    found = params(Job("/a.php", json={}, headers={"content-type": "application/ld+json"}))
    assert found["CONTENT_TYPE"] == "application/ld+json"
    assert "HTTP_CONTENT_TYPE" not in found


def test_who_overrides_whom() -> None:
    """Defaults yield to the endpoint, and both to the job."""
    endpoint: dict[str, Any] = {
        "headers": {"Host": "endpoint", "X-A": "endpoint"},
        "params": {"SERVER_NAME": "endpoint"},
    }
    found = params(Job("/a.php"), **endpoint)
    assert (found["HTTP_HOST"], found["SERVER_NAME"], found["HTTP_X_A"]) == ("endpoint", "endpoint", "endpoint")
    found = params(Job("/a.php", headers={"X-A": "job"}, params={"SERVER_NAME": "job", "HTTP_HOST": "job"}), **endpoint)
    assert (found["HTTP_HOST"], found["SERVER_NAME"], found["HTTP_X_A"]) == ("job", "job", "job")
    found = params(Job("/a.php", params={"SCRIPT_NAME": "/x", "DOCUMENT_ROOT": "/y"}))
    assert (found["SCRIPT_NAME"], found["DOCUMENT_ROOT"]) == ("/x", "/y")


@pytest.mark.parametrize(
    ("root", "script", "filename", "name", "document_root"),
    [
        (None, "/srv/app/job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        (None, "/job.php", "/job.php", "/job.php", "/"),
        ("/srv/app", "job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        ("/srv/app/", "sub/job.php", "/srv/app/sub/job.php", "/sub/job.php", "/srv/app"),
        ("/srv/app", "sub/../job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        ("/srv/app", "./job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        ("/srv/app", "/srv/app/sub/job.php", "/srv/app/sub/job.php", "/sub/job.php", "/srv/app"),
        ("/srv/app", "/srv/app/../app/sub/./job.php", "/srv/app/sub/job.php", "/sub/job.php", "/srv/app"),
        ("/srv/app", "//srv//app//job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        ("//srv/app", "/srv/app/job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        (PurePosixPath("/srv/app"), "job.php", "/srv/app/job.php", "/job.php", "/srv/app"),
        (None, "/srv/app/../job.php", "/srv/app/../job.php", "/job.php", "/srv/app/.."),
        ("/", "job.php", "/job.php", "/job.php", "/"),
        ("/srv/app", "..job.php", "/srv/app/..job.php", "/..job.php", "/srv/app"),
    ],
)
def test_script_and_root(
    root: str | PurePosixPath | None, script: str, filename: str, name: str, document_root: str
) -> None:
    """SCRIPT_FILENAME, SCRIPT_NAME and DOCUMENT_ROOT agree with each other, whether the script is relative or
    absolute.
    """
    found = params(Job(script), root=root)
    assert (found["SCRIPT_FILENAME"], found["SCRIPT_NAME"], found["DOCUMENT_ROOT"]) == (filename, name, document_root)


def test_relative_script_without_a_root() -> None:
    """A relative script needs a root, and the error says how to give one."""
    with pytest.raises(
        InvalidJob, match=r"script='job.php' is relative, and the endpoint has no root; .*Endpoint\(root="
    ):
        encoder().check(Job("job.php"))


@pytest.mark.parametrize(
    "script",
    [
        *("../job.php", "sub/../../job.php", "..", ".", "../app", "../application/job.php"),
        *(
            "/elsewhere/job.php",
            "/srv/app/../job.php",
            "/srv/application/job.php",
            "/srv/app",
            "//elsewhere/job.php",
            "/",
        ),
    ],
)
def test_escaping_the_root(script: str) -> None:
    """A script cannot lead out of the root, nor be the root, whether it is relative or absolute."""
    with pytest.raises(InvalidJob, match="leads out of the endpoint's root '/srv/app'"):
        encoder(root="/srv/app").check(Job(script))


@pytest.mark.parametrize("root", ["srv/app", "", "."])
def test_relative_root(root: str) -> None:
    """A root that is not absolute would mean something else on FPM's side."""
    with pytest.raises(ConfigurationError, match="root"):
        Endpoint(ADDRESS, root=root)


def test_script_is_too_long() -> None:
    """The whole path counts, root included."""
    with pytest.raises(InvalidJob, match="'SCRIPT_FILENAME' is longer than the 64 KiB"):
        encoder(root="/" + "r" * 40000).check(Job("s" * 40000))


def test_request_uri_is_too_long() -> None:
    """A REQUEST_URI that is made of script and query counts as a whole, before anything is sent."""
    with pytest.raises(InvalidJob, match="'REQUEST_URI' is longer than the 64 KiB"):
        encoder().check(Job("/" + "s" * 40000 + ".php", query="q" * 40000))


@pytest.mark.parametrize(
    ("arguments", "uri", "query", "path_info"),
    [
        ({}, "/index.php", "", None),
        ({"query": {"x": "1"}}, "/index.php?x=1", "x=1", None),
        ({"uri": "/orders/7?x=1"}, "/orders/7?x=1", "x=1", ""),
        ({"uri": "/index.php/orders/7?x=1"}, "/index.php/orders/7?x=1", "x=1", "/orders/7"),
        ({"uri": "/index.php"}, "/index.php", "", ""),
        ({"uri": "/index.php/"}, "/index.php/", "", "/"),
        ({"uri": "/index.phpx/a"}, "/index.phpx/a", "", ""),
        ({"uri": "/index.php/a%20b"}, "/index.php/a%20b", "", "/a b"),
        ({"uri": "//index.php//a/./b/../c/.."}, "//index.php//a/./b/../c/..", "", "/a/"),
        ({"uri": "/../../index.php/a"}, "/../../index.php/a", "", "/a"),
        ({"uri": "/orders/7", "params": {"PATH_INFO": "/mine"}}, "/orders/7", "", "/mine"),
        ({"params": {"PATH_INFO": "/p", "QUERY_STRING": "q", "REQUEST_URI": "/u"}}, "/u", "q", "/p"),
    ],
    ids=str,
)
def test_uri(arguments: dict[str, Any], uri: str, query: str, path_info: str | None) -> None:
    """REQUEST_URI, QUERY_STRING and PATH_INFO are what a front controller routes by; SCRIPT_NAME stays the script's."""
    found = params(Job("/srv/index.php", **arguments))
    assert (found["REQUEST_URI"], found["QUERY_STRING"], found.get("PATH_INFO")) == (uri, query, path_info)
    assert found["SCRIPT_NAME"] == "/index.php"


@pytest.mark.parametrize("name", FORBIDDEN_PARAMS)
def test_forbidden_parameters(name: str) -> None:
    """What is dangerous is refused with the reason, and with how to allow it."""
    message = f"the parameter {name} is refused: .+"
    if name != "CONTENT_LENGTH":
        message += rf"; Endpoint\(allow_params=\{{'{name}'\}}\) permits it"
    with pytest.raises(InvalidJob, match=message):
        encoder().check(Job("/a.php", params={name: "1"}))
    with pytest.raises(ConfigurationError, match=f"endpoint {ADDRESS}: the parameter {name} is refused"):
        encoder(params={name: "1"})


def test_path_info_behind_a_script_name_of_the_callers_own() -> None:
    """An application below a prefix names its script, and what follows that is PATH_INFO."""
    found = params(Job("/srv/index.php", uri="/shop/index.php/a", params={"SCRIPT_NAME": "/shop/index.php"}))
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) == ("/shop/index.php", "/a")


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("a b.php", "/a%20b.php"),
        ("what?.php", "/what%3F.php"),
        ("h#h.php", "/h%23h.php"),
        ("p%41.php", "/p%2541.php"),
        ("\u00fc.php", "/%C3%BC.php"),
        ("\udcff.php", "/%FF.php"),
        ("a+b.php", "/a+b.php"),
        ("sub/~x@y:z.php", "/sub/~x@y:z.php"),
    ],
)
def test_request_uri_is_encoded(name: str, uri: str) -> None:
    """REQUEST_URI is a URI, SCRIPT_NAME is not."""
    for job, expected in ((Job(name), uri), (Job(name, query="x=1"), f"{uri}?x=1")):
        found = params(job, root="/srv")
        assert (found["REQUEST_URI"], found["SCRIPT_NAME"]) == (expected, f"/{name}")


def test_endpoint_headers_as_pairs() -> None:
    """Pairs are joined as a job's are, and the job's replace them."""
    headers = [("Cookie", "a=1"), ("cookie", "b=2"), ("Accept", "a/b"), ("X-A", "1")]
    found = params(Job("/a.php", headers=[("Accept", "c/d"), ("Accept", "e/f")]), headers=headers)
    assert (found["HTTP_COOKIE"], found["HTTP_ACCEPT"], found["HTTP_X_A"]) == ("a=1; b=2", "c/d, e/f", "1")
    with pytest.raises(ConfigurationError, match=f"endpoint {ADDRESS}: the header 'Host' is given twice"):
        encoder(headers=[("Host", "a"), ("Host", "b")])


def test_forbidden_by_way_of_a_header() -> None:
    """A Proxy header would become HTTP_PROXY."""
    with pytest.raises(InvalidJob, match="HTTP_PROXY is refused"):
        encoder().check(Job("/a.php", headers={"Proxy": "evil"}))


@pytest.mark.parametrize("name", [name for name in FORBIDDEN_PARAMS if name != "CONTENT_LENGTH"])
def test_allowed_by_name(name: str) -> None:
    """What the endpoint allows by name is sent; the others stay refused."""
    assert params(Job("/a.php", params={name: "1"}), allow_params={name})[name] == "1"
    with pytest.raises(InvalidJob, match="is refused"):
        params(Job("/a.php", params=dict.fromkeys(FORBIDDEN_PARAMS, "1")), allow_params={name})


def test_content_length_is_never_the_callers() -> None:
    """Naming CONTENT_LENGTH in allow_params does not help."""
    with pytest.raises(InvalidJob, match="CONTENT_LENGTH is refused: it is computed"):
        encoder(allow_params={"CONTENT_LENGTH"}).check(Job("/a.php", params={"CONTENT_LENGTH": "1"}))


def test_endpoint_is_checked_as_a_job_is() -> None:
    """What a job would refuse is refused of an endpoint, under its address."""
    with pytest.raises(ConfigurationError, match=f"endpoint {ADDRESS}: .*has a NUL"):
        encoder(params={"A": "\0"})
    with pytest.raises(ConfigurationError, match=f"endpoint {ADDRESS}: .*not the name of a header"):
        encoder(headers={"X A": "1"})


def test_many_parameters() -> None:
    """3000 parameters and one of 40,000 bytes are spread over records, none cut, none lost, none doubled."""
    given = {f"NAME_{i}": "v" * 30 for i in range(3000)} | {"LONG": "l" * 40_000, "SERVER_NAME": "mine"}
    found = params(Job("/a.php", params=given))
    assert given.items() <= found.items()
    assert set(found) == set(given) | set(DEFAULT_PARAMS) | set(params(Job("/a.php")))


def test_bytes_that_are_no_utf8() -> None:
    """A path and a header that are not UTF-8 pass byte for byte, by surrogateescape."""
    request = encoder().encode(Job("/\udcff.php", headers={"X-A": "\udcfe"}))
    pairs = dict(decode_pairs(request.params[0]))
    assert pairs[b"SCRIPT_FILENAME"] == b"/\xff.php"
    assert pairs[b"HTTP_X_A"] == b"\xfe"


def test_role_and_body_are_passed_on() -> None:
    """The request carries the job's role and body."""
    request = encoder().encode(Job("/a.php", content=b"0"))
    assert (request.role, request.body) == (Role.RESPONDER, b"0")
    assert encoder().encode(Job("/a.php", role=Role.AUTHORIZER)).role is Role.AUTHORIZER


def test_scripts_are_remembered_for_a_while() -> None:
    """Thousands of different scripts are encoded right, and not all kept."""
    encoding = encoder(root="/srv")
    for i in range(3000):
        encoding.check(Job(f"{i}.php"))
    assert len(encoding._scripts) <= 1024
    pairs = dict(decode_pairs(encoding.encode(Job("0.php")).params[0]))
    assert pairs[b"SCRIPT_FILENAME"] == b"/srv/0.php"


def test_defaults_that_jobs_replace() -> None:
    """Whichever a job replaces, it sends each parameter once, and not all that may be replaced are kept."""
    encoding = encoder(root="/srv")
    names = sorted(DEFAULT_PARAMS)
    for n in range(200):
        own = {name: f"own {n}" for bit, name in enumerate(names) if n >> bit & 1}
        pairs = decode_pairs(encoding.encode(Job("a.php", params=own)).params[0])
        found = {name.decode(): value.decode() for name, value in pairs}
        assert len(found) == len(pairs)
        assert {name: found[name] for name in names} == {**DEFAULT_PARAMS, **own}
    assert len(encoding._scripts["a.php"].left) <= 16
