"""A call as a line of JSON, and its outcome as another one."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import click

from .. import ResilientError
from .outcome import describe
from .payloads import loads, place_of

KEYS = frozenset({"method", "args", "timeout", "id"})
FORM = 'a line is ["METHOD", ARG, …] or {"method": "METHOD", "args": [ARG, …]}'


class Misread(Exception):
    """A line that is no call."""


@dataclass
class Call:
    """One line, and what came of it.

    Attributes:
        line: its number, from 1.
        method: what is called.
        arguments: with what.
        timeout: seconds for its answer; ``None`` for the default.
        named: ``{"id": …}`` where the line has an id.
        future: its outcome, ``None`` until it is sent.
        began: when it was sent.
        seconds: how long it took.
    """

    line: int
    method: str = ""
    arguments: list[Any] = field(default_factory=list)
    timeout: float | None = None
    named: dict[str, Any] = field(default_factory=dict)
    future: Future[Any] | None = None
    began: float = 0.0
    seconds: float | None = None


def read_call(number: int, line: bytes) -> Call:
    """The call in a line; one that is none has failed already."""
    call = Call(number)
    try:
        _fill(call, loads(line.decode("utf-8")))
    except Misread as error:
        _fail(call, error)
    except click.UsageError as error:
        _fail(call, Misread(error.message))
    except ValueError as error:
        _fail(call, Misread(f"it is no JSON ({place_of(error)}); {FORM}"))
    return call


def _fail(call: Call, error: Misread) -> None:
    call.future = Future()
    call.future.set_exception(error)


def _fill(call: Call, value: Any) -> None:
    if isinstance(value, list) and value:
        call.method, *call.arguments = value
    elif isinstance(value, dict):
        if "id" in value:
            call.named = {"id": value["id"]}
        if unknown := sorted(value.keys() - KEYS):
            raise Misread(f"{unknown[0]!r} is no part of a call; {FORM}")
        call.method = value.get("method", "")
        call.arguments = value.get("args", [])
        call.timeout = _seconds(value.get("timeout"))
    else:
        raise Misread(FORM)
    if not isinstance(call.method, str) or not isinstance(call.arguments, list):
        raise Misread(f"the method is text, the arguments are a list; {FORM}")


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise Misread("the timeout is a number of seconds, 0 or more")
    return float(value)


def outcome_of(call: Call) -> dict[str, Any]:
    """What came of a call that is done."""
    assert call.future is not None
    head = {"line": call.line, **call.named}
    error = call.future.exception()
    tail = {} if call.seconds is None else {"seconds": round(call.seconds, 6)}
    if error is None:
        return {**head, "ok": True, "result": call.future.result(), **tail}
    return {**head, "ok": False, "error": error_as_json(error), **tail}


def error_as_json(error: BaseException) -> dict[str, Any]:
    """An error, as far as scripts need it."""
    if isinstance(error, Misread):
        return {"type": "Misread", "message": str(error), "code": "USAGE"}
    if isinstance(error, ResilientError):
        return {"type": error.type, "message": error.message if error.remote else describe(error), "code": error.code}
    return {"type": type(error).__name__, "message": describe(error), "code": "ERROR"}
