"""Calls as lines of JSON, and their results as lines of JSON."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import click

from .. import ResilientError
from ..contrib.exit_codes import error_text
from .payloads import error_position, loads

KEYS = frozenset({"method", "args", "timeout", "id"})
USAGE = 'a line is ["METHOD", ARG, …] or {"method": "METHOD", "args": [ARG, …]}'


class InvalidCallLine(Exception):
    """A line that cannot be read as a call."""


@dataclass
class CallLine:
    """One call of a JSON lines file.

    Attributes:
        line: the number of the line, from 1.
        method: the method to call.
        arguments: the arguments of the call.
        timeout: seconds to wait for the answer; ``None`` for the default.
        id_field: ``{"id": …}`` where the line has an id, otherwise empty.
        future: the result; ``None`` until the call is sent.
        started: when the call was sent, by `time.monotonic`.
        seconds: how long the call took; ``None`` until it is done.
    """

    line: int
    method: str = ""
    arguments: list[Any] = field(default_factory=list)
    timeout: float | None = None
    id_field: dict[str, Any] = field(default_factory=dict)
    future: Future[Any] | None = None
    started: float = 0.0
    seconds: float | None = None


def parse_call(number: int, line: bytes) -> CallLine:
    """Return the call of a line; where the line is invalid, the call has failed with `InvalidCallLine`."""
    call = CallLine(number)
    # An invalid line fails alone: its error is printed in its place, and the other lines are called.
    try:
        _fill(call, loads(line.decode("utf-8")))
    except InvalidCallLine as error:
        _fail(call, error)
    except click.UsageError as error:
        _fail(call, InvalidCallLine(error.message))
    except ValueError as error:
        _fail(call, InvalidCallLine(f"invalid JSON ({error_position(error)}); {USAGE}"))
    return call


def _fail(call: CallLine, error: InvalidCallLine) -> None:
    call.future = Future()
    call.future.set_exception(error)


def _fill(call: CallLine, value: Any) -> None:
    if isinstance(value, list) and value:
        call.method, *call.arguments = value
    elif isinstance(value, dict):
        # The id first: the error line of a call that is invalid otherwise has it, too.
        if "id" in value:
            call.id_field = {"id": value["id"]}
        # A misspelled key would go unnoticed: a call without its arguments may still succeed.
        if unknown := sorted(value.keys() - KEYS):
            raise InvalidCallLine(f"unknown key {unknown[0]!r}; {USAGE}")
        call.method = value.get("method", "")
        call.arguments = value.get("args", [])
        call.timeout = _seconds(value.get("timeout"))
    else:
        raise InvalidCallLine(USAGE)
    if not isinstance(call.method, str) or not isinstance(call.arguments, list):
        raise InvalidCallLine(f"the method must be a string, the arguments a list; {USAGE}")


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    # bool is a subclass of int, and {"timeout": true} is a mistake.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidCallLine("the timeout must be a number of seconds, 0 or more")
    return float(value)


def result_line(call: CallLine) -> dict[str, Any]:
    """Return the result of a call that is done, as the value of its output line."""
    assert call.future is not None
    head = {"line": call.line, **call.id_field}
    error = call.future.exception()
    tail = {} if call.seconds is None else {"seconds": round(call.seconds, 6)}
    if error is None:
        return {**head, "ok": True, "result": call.future.result(), **tail}
    return {**head, "ok": False, "error": error_value(error), **tail}


def error_value(error: BaseException) -> dict[str, Any]:
    """Return an error as JSON for scripts."""
    if isinstance(error, InvalidCallLine):
        return {"type": "InvalidCallLine", "message": str(error), "code": "USAGE"}
    if isinstance(error, ResilientError):
        # A peer's str() repeats its type, which has a field of its own here.
        message = error.plain_message if error.remote else error_text(error)
        return {"type": error.type, "message": message, "code": error.code}
    return {"type": type(error).__name__, "message": error_text(error), "code": "ERROR"}
