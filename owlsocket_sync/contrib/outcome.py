"""What commands of frameworks end with: exit codes that scripts rely on, and JSON, one line for each result.

The codes are those of the ``owlsocket`` command: 0 ok, 1 the peer answered with an error, 2 usage, 3 no connection,
4 timeout, 5 authentication, 130 interrupted.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ResilientError

REMOTE_ERROR, USAGE, NO_CONNECTION, TIMEOUT, AUTHENTICATION, INTERRUPTED = 1, 2, 3, 4, 5, 130

_BY_CODE = {
    "TIMEOUT": TIMEOUT,
    "AUTH_FAILED": AUTHENTICATION,
    "CONNECTION_LOST": NO_CONNECTION,
    "INITIALIZATION": NO_CONNECTION,
    "MALFORMED": USAGE,
    "MESSAGE": USAGE,
}


class NotConnected(Exception):
    """No connection came about; ``reason`` says why."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def exit_code(error: BaseException) -> int:
    """The exit code that an error stands for."""
    if isinstance(error, NotConnected):
        if isinstance(error.reason, ValueError):
            return USAGE
        return _BY_CODE.get(getattr(error.reason, "code", ""), NO_CONNECTION)
    if isinstance(error, ResilientError):
        known = _BY_CODE.get(error.code, REMOTE_ERROR)
        return known if known == AUTHENTICATION or not error.remote else REMOTE_ERROR
    return USAGE


def describe(error: BaseException) -> str:
    """An error in words, on one line that a terminal may show."""
    if isinstance(error, NotConnected):
        error = error.reason
    text = str(error)
    if isinstance(error, ResilientError) and not error.remote:
        text = text.removeprefix(getattr(error, "prefix", ""))
    return plain(text or type(error).__name__)


def plain(text: str) -> str:
    """Text without what would steer a terminal: that becomes an escape."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def to_line(value: Any) -> str:
    """A value as one line of JSON, in ASCII, which no terminal misunderstands."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def read_argument(text: str) -> Any:
    """An argument as JSON, or as text where it is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
