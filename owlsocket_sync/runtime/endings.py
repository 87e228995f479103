"""Endings of links that fail at this end: with 1006, which no close frame carries (RFC 6455, section 7.4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from ..errors import ResilientError, SocketConnectionError
from ..errors.marshalled import unsent
from ..errors.safe_text import safe_str
from ..states import CloseInfo
from ..values import forget_locals


def abnormal_end(error: Exception | None) -> CloseInfo:
    """Return the ending that an error causes."""
    return CloseInfo(1006, safe_str(error) if error else "the link ended", error)


def failed_attempt(failure: Exception) -> Exception:
    """Return the failure of an attempt to connect as callers raise it, of whose messages nothing was sent."""
    # On their own threads: tokens and headers among its locals stay here.
    forget_locals(failure)
    return unsent(failure) if isinstance(failure, ResilientError) else failure


def failed_end(what: str, failure: BaseException) -> CloseInfo:
    """Return the ending for whatever was raised, such as `SystemExit` of a log handler or the lack of a thread.

    Args:
        what: what failed.
        failure: what was raised.
    """
    return abnormal_end(failed_error(what, failure))


def failed_error(what: str, failure: BaseException) -> SocketConnectionError:
    """Return the error for whatever was raised, which is its cause; callers raise it on their own threads."""
    # Tokens and headers among its locals stay here.
    forget_locals(failure)
    name, text = type(failure).__name__, safe_str(failure)
    error = SocketConnectionError(f"{what}: {name}: {text}" if text else f"{what}: {name}")
    error.__cause__ = failure
    return error


def failed_authentication(failure: BaseException) -> CloseInfo:
    """Return the ending of a link whose authentication raised."""
    forget_locals(failure)
    error = failure if isinstance(failure, Exception) else failed_error("authentication failed", failure)
    return CloseInfo(1000, f"authentication failed: {safe_str(failure)}", error)


class CanAbort(Protocol):
    """A link."""

    def abort(self, info: CloseInfo) -> None:
        """End it."""
        ...


@contextmanager
def aborting(link: CanAbort) -> Iterator[None]:
    """Abort a link that cannot be opened, whatever is raised."""
    try:
        yield
    except BaseException as failure:
        link.abort(failed_end("the link could not be opened", failure))


def is_interrupt(error: BaseException) -> bool:
    """Return whether an error is for the web server whose thread this is, such as GreenletExit or KeyboardInterrupt."""
    return not isinstance(error, (Exception, SystemExit))
