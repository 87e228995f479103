"""What ``stats`` shows: a frozen snapshot of the counters of a connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """What a connection has seen so far, as of one moment.

    Attributes:
        messages_in: messages that arrived, of any kind, garbage included.
        messages_out: messages that were sent.
        bytes_in: their bytes, frames and headers not counted.
        bytes_out: likewise.
        pending: calls that wait for an answer.
        queued: messages in the queue.
        backlog: messages that were read and wait for a handler, or are with one; reading stops at
            ``Limits.dispatch_messages``.
        malformed: messages that could not be used, and links that were lost because of frames that break RFC 6455.
        unmatched: answers that nobody waited for.
        dropped: what was given up on: answers after their deadline, messages beyond a limit, handlers not started
            before the end.
        reconnects: links after the first.
        latency: seconds of the last round trip, ``None`` before one was measured.
    """

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    pending: int
    queued: int
    backlog: int
    malformed: int
    unmatched: int
    dropped: int
    reconnects: int
    latency: float | None
