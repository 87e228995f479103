"""The counters of a connection, as a frozen snapshot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """Counters of a connection since it was made, at one point in time.

    Attributes:
        messages_in: received messages of any kind, malformed ones included.
        messages_out: sent messages.
        bytes_in: bytes of the text of the received messages.
        bytes_out: bytes of the text of the sent messages.
        wire_bytes_in: bytes of the received messages as they travelled, compressed or not, without the headers of
            frames.
        wire_bytes_out: the same of the sent messages.
        pending: calls without an answer.
        queued: messages in the queue.
        backlog: messages that were read and whose handlers have not finished; reading pauses at
            ``Limits.dispatch_messages``.
        malformed: invalid messages, and links that were lost because a frame violated RFC 6455.
        unmatched: answers to unknown calls.
        dropped: answers after the deadline of their call, messages beyond a limit, and messages whose handlers had not
            started when the connection closed.
        reconnects: links after the first one.
        latency: the last round trip in seconds, ``None`` before the first measurement.
    """

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    wire_bytes_in: int
    wire_bytes_out: int
    pending: int
    queued: int
    backlog: int
    malformed: int
    unmatched: int
    dropped: int
    reconnects: int
    latency: float | None

    def _repr_html_(self) -> str:
        from ..html_repr import stats_card

        return stats_card(self)
