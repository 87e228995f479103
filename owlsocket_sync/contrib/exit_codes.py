"""Exit codes, errors and the wait for a connection, of ``owlsocket``, ``flask owlsocket`` and ``manage.py owlsocket``.

Results are JSON, one line each, on stdout; an error is one line on stderr.
"""

from __future__ import annotations

import json
import os
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import ResilientError
from ..errors.safe_text import safe_str
from ..protocol.json_writer import to_text

if TYPE_CHECKING:
    from ..connection import Connection
    from ..states import CloseInfo

# The connection reports its own timeout, with the reason; a command waits a little longer for that report.
GRACE_SECONDS = 1.0

# C0 and C1 steer a terminal; U+2028 and U+2029 end a line for some readers of it; the bidirectional marks let a text of
# the peer read as something else (Unicode TR 36, section 2.5); lone surrogates have no encoding.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class ExitCode(IntEnum):
    """The exit codes of the commands; scripts rely on them."""

    OK = 0
    REMOTE_ERROR = 1
    USAGE = 2
    NO_CONNECTION = 3
    TIMEOUT = 4
    AUTHENTICATION = 5
    INTERRUPTED = 130


_BY_ERROR_CODE = {
    "TIMEOUT": ExitCode.TIMEOUT,
    "AUTH_FAILED": ExitCode.AUTHENTICATION,
    "CONNECTION_LOST": ExitCode.NO_CONNECTION,
    "INITIALIZATION": ExitCode.NO_CONNECTION,
    "MALFORMED": ExitCode.USAGE,
    "MESSAGE": ExitCode.USAGE,
}


class NotConnected(Exception):
    """The connection could not be opened.

    Attributes:
        reason: the error that `connect` raised.
        url: the URL that was to be connected to, secrets included; empty where the caller does not know it.
    """

    def __init__(self, reason: BaseException, url: str = "") -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.url = url


def wait_open(connection: Connection, timeout: float | None, url: str = "") -> Connection:
    """Return a connection once it is open.

    Args:
        connection: the connection.
        timeout: that of the attempt itself, in seconds; ``None`` for the connection's own.
        url: the URL, for the error.

    Raises:
        NotConnected: the connection cannot be opened.
    """
    try:
        return connection.wait_open(None if timeout is None else timeout + GRACE_SECONDS)
    except ResilientError as error:
        # The cause is the failure of the last attempt (DNS, TLS, a refused token): it decides about the exit code.
        raise NotConnected(error.__cause__ or error, url) from error


def close_text(info: CloseInfo) -> str:
    """Return how a connection ended, for an error."""
    return f"connection closed: {info.code} {info.reason}".strip()


def redirect_to_devnull(stream: TextIO) -> None:
    """Send further output of a stream whose reader has closed it, as ``head`` does, to ``/dev/null``."""
    # The interpreter flushes stdout at exit, and would end with code 120 where the pipe is broken.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def exit_code(error: BaseException, default: ExitCode = ExitCode.REMOTE_ERROR) -> ExitCode:
    """Return the exit code for an error.

    Args:
        error: the error that ended the command.
        default: the code for an error that is neither ours nor a `ValueError`.
    """
    if isinstance(error, NotConnected):
        if isinstance(error.reason, ValueError):
            return ExitCode.USAGE
        return _BY_ERROR_CODE.get(getattr(error.reason, "code", ""), ExitCode.NO_CONNECTION)
    if isinstance(error, ResilientError):
        code = _BY_ERROR_CODE.get(error.code, ExitCode.REMOTE_ERROR)
        # A TIMEOUT or CONNECTION_LOST of the peer is about a third party: our connection answered, with an error.
        return code if code is ExitCode.AUTHENTICATION or not error.remote else ExitCode.REMOTE_ERROR
    return ExitCode.USAGE if isinstance(error, ValueError) else default


def error_text(error: BaseException) -> str:
    """Return the message of an error, or the name of its class where the message is empty."""
    if isinstance(error, NotConnected):
        error = error.reason
    return safe_str(error) or type(error).__name__


def describe(error: BaseException) -> str:
    """Return an error as one line that is safe to show on a terminal."""
    return escape_control(error_text(error))


def escape_control(text: str) -> str:
    r"""Replace control characters, line ends and bidirectional marks by ``\uXXXX``, which means the same in JSON."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def to_json_line(value: Any, *, ensure_ascii: bool = True) -> str:
    """Return a value, however deep a message may be nested, as one line of JSON."""
    # DEL is ASCII, so json.dumps leaves it as it is; terminals do not.
    return to_text(value, ensure_ascii=ensure_ascii).replace("\x7f", "\\u007f")


def parse_argument(text: str) -> Any:
    """Return an argument parsed as JSON, or the text itself where it is not valid JSON."""
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return text


def refuse_constant(text: str) -> Any:
    """Raise `ValueError` for NaN or Infinity."""
    # Python's parser accepts NaN and Infinity, which RFC 8259 does not have.
    raise ValueError(f"{text} is not a JSON number")
