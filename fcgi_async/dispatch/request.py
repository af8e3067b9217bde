"""Encode a job for one endpoint: default parameters, and the rules for the caller's own."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from os import PathLike
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import attrs

from fcgi_async.errors import ConfigurationError, InvalidJob
from fcgi_async.job.body import BodyStream
from fcgi_async.job.headers import RequestHeaders, header_params
from fcgi_async.job.job import Job
from fcgi_async.job.param_text import check_pair
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.wire.records import encode_pair, encode_params, pack_pairs
from fcgi_async.wire.request import EncodedRequest, encode_request
from fcgi_async.wire.spec import MAX_CONTENT

__all__ = ("DEFAULT_PARAMS", "FORBIDDEN_PARAMS", "Defaults", "RequestEncoder")

# sent with every job unless Endpoint or Job say otherwise; docs/reference/parameters.md explains each
DEFAULT_PARAMS: Final[Mapping[str, str]] = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "HTTP_HOST": "localhost",
    "REDIRECT_STATUS": "200",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "0",
    "REQUEST_SCHEME": "http",
    "SERVER_ADDR": "127.0.0.1",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "fcgi_async",
}

FORBIDDEN_PARAMS: Final[Mapping[str, str]] = {
    "PHP_VALUE": "it changes php.ini settings, and they stay in that worker for all later requests of any client",
    "PHP_ADMIN_VALUE": "it changes php.ini settings, and they stay in that worker for all later requests of any client",
    "REQUEST_BODY_FILE": "it makes FPM read a file of its own host as the body",
    "PATH_TRANSLATED": "with cgi.fix_pathinfo=0 FPM runs this file instead of the script, wherever it is",
    "HTTP_PROXY": "PHP programs may take it for their proxy (httpoxy)",
    "CONTENT_LENGTH": "it is computed; a wrong one hangs the worker or smuggles a request",
}

# parameters that a job sets itself
_OWN = frozenset({"QUERY_STRING", "REQUEST_URI", "REQUEST_METHOD", "CONTENT_LENGTH", "CONTENT_TYPE"})
_NOTHING: Mapping[str, str] = MappingProxyType({})
_SCRIPTS_KEPT = 1024
# most jobs replace the same few parameters
_REPLACED_KEPT = 16
# the characters that a path has unquoted (RFC 3986, 3.3)
_PATH_CHARACTERS = "/!$&'()*+,;=:@"


@attrs.frozen(eq=False)
class Defaults:
    """What one view sends with every job, in addition to what the endpoint sends.

    Attributes:
        root: a folder that replaces the endpoint's root, or None.
        params: FastCGI parameters.
        headers: request headers, a mapping or a sequence of pairs.
    """

    root: str | PathLike[str] | None
    params: Mapping[str, str]
    headers: RequestHeaders


@attrs.frozen(eq=False)
class _Script:
    """The part of a request that is the same for every job of one script.

    Attributes:
        name: SCRIPT_NAME.
        uri: the same, percent-encoded: REQUEST_URI without the query.
        pairs: the encoded parameters that every job sends, from the endpoint, its views and the script; a job's own
            replace them.
        prefix: all of `pairs` joined, for a job that adds only what all jobs add and replaces none; otherwise None.
        plain: the request of a job that sets only its script.
        left: by the names in `pairs` that a job replaces: the others, joined.
    """

    name: str
    uri: str
    pairs: dict[str, bytes]
    prefix: bytes | None
    plain: EncodedRequest
    left: dict[frozenset[str], bytes] = attrs.field(factory=dict, init=False)

    def without(self, replaced: frozenset[str]) -> bytes:
        """Return the pairs of all names except these."""
        found = self.left.get(replaced)
        if found is None:
            if len(self.left) >= _REPLACED_KEPT:
                self.left.clear()
            found = self.left[replaced] = b"".join([self.pairs[name] for name in self.pairs if name not in replaced])
        return found


@attrs.define(eq=False)
class RequestEncoder:
    """Encodes jobs for one endpoint; what is the same for every job is encoded once.

    Args:
        endpoint: the endpoint, with its root, params and headers.
        views: the views, with their params and headers; a later one overrides an earlier one. Their roots are the
            endpoint's already.

    Raises:
        ConfigurationError: the params or headers of the endpoint or of a view are not allowed.
    """

    endpoint: Endpoint
    views: tuple[Defaults, ...] = ()
    _base: dict[str, str] = attrs.field(init=False)
    _scripts: dict[str, _Script] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        endpoint = self.endpoint
        self._base = {**DEFAULT_PARAMS, **self._allowed("endpoint", endpoint.params, endpoint.headers)}
        for view in self.views:
            self._base |= self._allowed("view() at endpoint", view.params, view.headers)

    def _allowed(self, whose: str, params: Mapping[str, str], headers: RequestHeaders) -> dict[str, str]:
        """Return the parameters that result; raise ConfigurationError if one is not allowed."""
        address = self.endpoint.address
        try:
            # an endpoint must refuse the same parameters as a job
            Job("/", params=params or None, headers=headers or None)
            found = header_params(headers)
            self._check_allowed(params, found)
        except InvalidJob as error:
            raise ConfigurationError(f"{whose} {address}: {error.message}", endpoint=str(address)) from error
        return {**found, **params}

    def check(self, job: Job) -> None:
        """Refuse a job that this endpoint does not allow.

        Raises:
            InvalidJob: a forbidden parameter, or a script that is not under the endpoint's root.
        """
        if job.params or job.header_params:
            self._check_allowed(job.params or {}, job.header_params)
        script = self._scripts.get(job.script) or self._add_script(job.script)
        if job.query is not None:
            check_pair("REQUEST_URI", f"{script.uri}?{job.query_string}")

    def encode(self, job: Job, extra: Mapping[str, str] = _NOTHING) -> EncodedRequest:
        """Return a job as bytes; the caller sends a body that is a stream.

        Args:
            job: what to run.
            extra: parameters to send too, unless the job sets them itself.

        Raises:
            InvalidJob: as for `check()`, or the job cannot be encoded.
        """
        try:
            script = self._scripts.get(job.script) or self._add_script(job.script)
            if extra:
                return self._encode(job, script, extra)
            return script.plain if job.plain else self._encode_own(job, script)
        except InvalidJob:
            raise
        except Exception as error:
            raise InvalidJob(f"the job could not be encoded: {error!r}") from error

    def _encode_own(self, job: Job, script: _Script) -> EncodedRequest:
        """Return a job as bytes; most jobs set only a query and a body."""
        body = job.body
        if script.prefix is None or job.uri is not None or job.params or job.header_params or type(body) is not bytes:
            return self._encode(job, script, _NOTHING)
        query = job.query_string.encode("utf-8", "surrogateescape")
        uri = script.uri.encode()
        content = script.prefix + encode_pair(b"QUERY_STRING", query)
        content += encode_pair(b"REQUEST_URI", uri + b"?" + query if query else uri)
        method = job.method
        if job.has_body:
            content += encode_pair(b"CONTENT_LENGTH", b"%d" % len(body))
            method = method or "POST"
        content += encode_pair(b"REQUEST_METHOD", (method or "GET").encode())
        if job.content_type is not None:
            content += encode_pair(b"CONTENT_TYPE", job.content_type.encode("utf-8", "surrogateescape"))
        if len(content) > MAX_CONTENT:
            return self._encode(job, script, _NOTHING)
        return encode_request((content,), body, role=job.role, keep_conn=self.endpoint.handshake)

    def _encode(self, job: Job, script: _Script, extra: Mapping[str, str]) -> EncodedRequest:
        own = self._own_params(job, script)
        if extra:
            own = {**extra, **own}
        content = script.without(frozenset(script.pairs.keys() & own.keys())) + encode_params(own)
        contents: Sequence[bytes] = (content,)
        if len(content) > MAX_CONTENT:
            contents = pack_pairs((script.pairs | _pairs(own)).values())
        body = None if isinstance(job.body, BodyStream) else job.body
        return encode_request(contents, body, role=job.role, keep_conn=self.endpoint.handshake)

    def _own_params(self, job: Job, script: _Script) -> dict[str, str]:
        query = job.query_string
        own = {"QUERY_STRING": query}
        if job.uri is not None:
            own["REQUEST_URI"] = job.uri
            own["PATH_INFO"] = _path_info(job.path or "", (job.params or {}).get("SCRIPT_NAME", script.name))
        else:
            own["REQUEST_URI"] = f"{script.uri}?{query}" if query else script.uri
        if job.has_body:
            body = job.body
            own["CONTENT_LENGTH"] = str(body.length if isinstance(body, BodyStream) else len(body))
            own["REQUEST_METHOD"] = job.method or "POST"
        else:
            own["REQUEST_METHOD"] = job.method or "GET"
        if job.content_type is not None:
            own["CONTENT_TYPE"] = job.content_type
        own.update(job.header_params)
        if job.params:
            own.update(job.params)
        return own

    def _add_script(self, script: str) -> _Script:
        if self.endpoint.root is not None:
            # compare as text, because the files are on FPM's side; no .. is sent that could mean something else there
            root = _normal(self.endpoint.root)
            filename = _normal(posixpath.join(root, script))
            inside = root if root == "/" else root + "/"
            if not filename.startswith(inside) or filename == inside:
                raise InvalidJob(f"script={script!r} leads out of the endpoint's root {root!r}; name a script below it")
        elif script.startswith("/"):
            filename, root = script, posixpath.dirname(script)
            inside = root if root.endswith("/") else root + "/"
        else:
            raise InvalidJob(
                f"script={script!r} is relative, and the endpoint has no root; "
                "give an absolute path or Endpoint(root=...)"
            )
        check_pair("SCRIPT_FILENAME", filename)
        name = "/" + filename.removeprefix(inside)
        uri = quote(name, _PATH_CHARACTERS, errors="surrogateescape")
        check_pair("REQUEST_URI", uri)
        params = self._base | {"SCRIPT_FILENAME": filename, "SCRIPT_NAME": name, "DOCUMENT_ROOT": root}
        plain = params | {"QUERY_STRING": "", "REQUEST_URI": uri, "REQUEST_METHOD": "GET"}
        if len(self._scripts) >= _SCRIPTS_KEPT:
            self._scripts.clear()
        pairs = _pairs(params)
        contents = pack_pairs(pairs.values())
        prefix = contents[0] if len(contents) == 1 and _OWN.isdisjoint(pairs) else None
        request = encode_request(pack_pairs(_pairs(plain).values()), b"", keep_conn=self.endpoint.handshake)
        found = self._scripts[script] = _Script(name, uri, pairs, prefix, request)
        return found

    def _check_allowed(self, params: Mapping[str, str], headers: Mapping[str, str]) -> None:
        if FORBIDDEN_PARAMS.keys().isdisjoint(params) and FORBIDDEN_PARAMS.keys().isdisjoint(headers):
            return
        for name in (*params, *headers):
            if name in FORBIDDEN_PARAMS and (name not in self.endpoint.allow_params or name == "CONTENT_LENGTH"):
                raise InvalidJob(
                    f"the parameter {name} is refused: {FORBIDDEN_PARAMS[name]}"
                    + ("" if name == "CONTENT_LENGTH" else f"; Endpoint(allow_params={{{name!r}}}) permits it")
                )


def _normal(path: str) -> str:
    # POSIX keeps two slashes at the beginning
    return "/" + posixpath.normpath(path).lstrip("/")


def _path_info(path: str, script_name: str) -> str:
    """Return what follows the script in the path of a request target, as nginx's fastcgi_split_path_info finds it.

    Return "" if the target names no script and goes to a front controller.
    """
    if "//" in path or "/." in path:
        kept: list[str] = []
        parts = path.split("/")
        for part in parts:
            if part == "..":
                del kept[-1:]
            elif part not in ("", "."):
                kept.append(part)
        if parts[-1] in ("", ".", ".."):
            kept.append("")
        path = "/" + "/".join(kept)
    after = path.removeprefix(script_name)
    return after if after != path and after.startswith("/") else ""


def _pairs(params: Mapping[str, str]) -> dict[str, bytes]:
    # surrogateescape: paths and headers may have bytes that are not UTF-8
    return {
        name: encode_pair(name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
        for name, value in params.items()
    }
