"""Parse the answer of fcgi_call.php: a result, or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast, get_origin

from fcgi_async.errors import CallError, CallRefused, PHPError, PHPExited, PHPFatalError
from fcgi_async.job.response import Response

__all__ = ("converted", "result_of")

_Result = TypeVar("_Result")

_SHOWN = 300
# the types of JSON: a value of another one of these is an error; any other `returns` is called with the value
_JSON_TYPES = (bool, int, float, str, list, dict)


def result_of(function: str, response: Response) -> object:
    """Return the function's result.

    Raises:
        PHPError: it threw an exception, died of a fatal error, or exited.
        CallRefused: the function may not be called.
        CallError: it returned what JSON cannot express, or the answer is not one of fcgi_call.php.
    """
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.get("fcgi_call") != 1 or response.truncated:
        raise _told(_foreign(function, response), response)
    if "result" in answer:
        return answer["result"]
    raise _told(_failure(function, answer), response)


def _failure(function: str, answer: dict[str, object]) -> CallError:
    match answer:
        case {"threw": dict(thrown)}:
            return _thrown(function, thrown)
        case {"fatal": {"message": str(message), "file": str(file), "line": int(line), "type": int(code)}}:
            # only the first line; the others are the trace of an exception
            first = message.partition("\n")[0]
            return PHPFatalError(first, function=function, class_name="fatal error", code=code, file=file, line=line)
        case {"exited": {"output": str(output)}}:
            said = f" after it printed {output[:_SHOWN]!r}" if output else ""
            return PHPExited(f"the script ended with exit(){said}", function=function, class_name="exit", output=output)
        case {"refused": str(why)}:
            return CallRefused(f"{why}; it was not called", function=function)
        case {"unsendable": str(why)}:
            return CallError(
                f"{function}() returned what JSON cannot express: {why}. Text must be UTF-8: base64_encode() bytes",
                function=function,
            )
    return CallError(f"{function}(): fcgi_call.php answered what this version does not know", function=function)


def _thrown(function: str, thrown: Mapping[str, object]) -> PHPError:
    line, code, previous = thrown.get("line"), thrown.get("code"), thrown.get("previous")
    return PHPError(
        str(thrown.get("message", "")),
        function=function,
        class_name=str(thrown.get("class", "")),
        code=code if isinstance(code, int | str) else 0,
        file=str(thrown.get("file", "")),
        line=line if isinstance(line, int) else 0,
        previous=_thrown(function, previous) if isinstance(previous, dict) else None,
    )


def _foreign(function: str, response: Response) -> CallError:
    script = response.job.script
    if response.status == 404:
        hint = (
            f"is {script} there, as FPM sees its files (a chroot, a container), does it call FcgiCall::serve(), and is "
            "it reached without a web server?"
        )
    elif not response.content:
        hint = "it is empty: does the function call fastcgi_finish_request(), or did the worker log why it ended?"
    else:
        hint = (
            f"does {script} call FcgiCall::serve() and print nothing itself? It begins with {response.text[:_SHOWN]!r}"
        )
    logged = response.stderr[:_SHOWN].decode("utf-8", "replace").strip()
    return CallError(
        f"{function}(): the answer, status {response.status}, is not one of fcgi_call.php; {hint}"
        + (f"; PHP logged: {logged}" if logged else ""),
        function=function,
    )


def _told(error: CallError, response: Response) -> CallError:
    found: CallError | None = error
    while found is not None:
        found.about(response.job, response.endpoint, may_have_run=True)
        found.stderr = response.stderr
        previous = found.previous if isinstance(found, PHPError) else None
        found.__cause__ = previous
        found = previous
    return error


def converted(function: str, value: object, returns: Callable[..., _Result] | None, response: Response) -> _Result:
    """Return a result in the type that the caller asked for.

    Args:
        function: the function's name.
        value: the value that it returned.
        returns: a type of JSON that the value must have; or a function that is called with it; None for the unchanged
            value.
        response: the response with the value.

    Raises:
        CallError: the value has another type, or `returns` refused it.
    """
    if returns is None:
        return cast("_Result", value)
    kind = get_origin(returns) or returns
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return cast("_Result", float(value))
    if kind in _JSON_TYPES:
        if isinstance(value, cast("type", kind)) and (kind is bool or not isinstance(value, bool)):
            return cast("_Result", value)
        # PHP's empty array is both a list and a dict
        if kind is dict and value == []:
            return cast("_Result", {})
        wanted = getattr(kind, "__name__", repr(kind))
        raise _told(
            CallError(f"{function}() returned {_shown(value)}, which is not {wanted}", function=function), response
        )
    try:
        return returns(value)
    except Exception as error:
        name = getattr(returns, "__name__", repr(returns))
        refused = _told(
            CallError(f"{function}() returned {_shown(value)}, which {name} refused: {error}", function=function),
            response,
        )
        raise refused from error


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
