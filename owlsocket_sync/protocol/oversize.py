"""Calls that cannot be answered because a message is larger than one end of the link accepts: they are not sent again.

Such a message ends the link with 1009. Sent on the next link, the call would end that one as well, each time with all
that waits beside it, and the peer would perform it each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..errors import SocketConnectionError, SocketMessageError
from ..errors.marshalled import unsent
from ..states import CloseInfo
from .json_parser import find_leading_fields
from .pending import Pending

TOO_BIG = 1009
SUSPECT_SIZE = 1024
"""Bytes of a message from which on a peer may refuse it as too large; no end has a lower limit in earnest."""


def too_large(size: int, limit: int) -> SocketMessageError:
    """Return the error of a message that this end does not send."""
    return unsent(SocketMessageError(f"a message of {size} bytes is larger than {limit} (Limits.message_size)"))


class PendingCalls(Protocol):
    """The table of calls, as this module sees it."""

    pending: dict[Any, Pending]

    def forget(self, id: Any) -> Pending | None:
        """Remove a call, and return it if it was pending."""


def fail_refused_calls(table: PendingCalls, info: CloseInfo, link: int) -> None:
    """Fail the calls that ended this link, with 1009, by their size or the size of their answer."""
    for call, error in refused_calls(info, link, list(table.pending.values())):
        if table.forget(call.id):
            call.refuse(error)


def refused_calls(info: CloseInfo, link: int, pending: Sequence[Pending]) -> list[tuple[Pending, SocketMessageError]]:
    """Return the calls that ended a link by their size, or the size of their answer, each with its error.

    Args:
        info: the end of the link, with 1009.
        link: the number of the link.
        pending: the calls that wait for their answers.
    """
    sent = [call for call in pending if call.link is not None and call.link <= link]
    if not sent:
        return []
    # This end refused a message, and kept its beginning; or the peer refused one of ours.
    beginning = getattr(info.error, "beginning", None)
    if beginning is None:
        return [(call, _refused_by_peer(call.method)) for call in _largest(sent)]
    fields = find_leading_fields(beginning.decode("utf-8", "replace"))
    if "id" not in fields and fields.get("type", "result") not in ("result", "error"):
        return []
    answered = [call for call in sent if call.id == fields.get("id")]
    if answered or "id" in fields:
        return [(call, _answer_refused(call.method, info)) for call in answered]
    # It may be the answer of any of them: those that would be sent again fail.
    return [(call, _answer_refused(call.method, info, "a message that may be ")) for call in sent if call.retry]


def _largest(sent: Sequence[Pending]) -> list[Pending]:
    # The peer answers in any order, but refuses the first message above its limit: the largest one is above it too.
    size = max(call.size for call in sent)
    return [call for call in sent if call.size == size >= SUSPECT_SIZE]


def _answer_refused(method: str, info: CloseInfo, doubt: str = "") -> SocketMessageError:
    what = f"{doubt}the answer to call {method!r}"
    error = SocketMessageError(f"{what} is larger than Limits.message_size: {info.reason}")
    error.__cause__ = info.error
    return error


def _refused_by_peer(method: str) -> SocketMessageError:
    return SocketMessageError(f"call {method!r} is larger than the peer accepts: it closed the link with 1009")


def refused_frame(
    frames: Sequence[bytes], info: CloseInfo | None, error: SocketConnectionError
) -> SocketMessageError | None:
    """Return the error for a message that the peer refused as too large while it was written, if it did.

    Args:
        frames: what was written; of several messages, `refused_calls` finds the one.
        info: the end of the link.
        error: the failure of the write.
    """
    # Only a write that was broken off has the error of a socket as its cause: others began after the end of the link.
    if info is None or info.code != TOO_BIG or not isinstance(error.__cause__, OSError):
        return None
    size = len(frames[0])
    if len(frames) > 1 or size < SUSPECT_SIZE:
        return None
    return SocketMessageError(
        f"a message of {size} bytes is larger than the peer accepts: it closed the link with 1009"
    )
