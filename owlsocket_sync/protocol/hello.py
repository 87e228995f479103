"""The frames by which two ends agree on their queues: hello, ack, nack and skip, all of them system messages.

An end of the reference shows them to its listeners, and does nothing else: so hello may be sent to any peer, and the
others to a peer that answered it. Nothing here keeps a state: values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeGuard

from ..errors import SocketMessageMalformed
from ..version import __version__

VERSION = 1
AGENT = f"owlsocket-sync/{__version__}"
EVENTS = frozenset({"hello", "ack", "nack", "skip"})
MAX_SEQ = 2**53 - 1
"""The highest number of a message: the reference, and JSON, lose digits beyond it."""
MAX_STREAM_LENGTH = 128


class NackReason(str, Enum):
    """The reason why a message was not taken; the values are those of the wire."""

    GAP = "gap"
    FULL = "full"
    INVALID = "invalid"
    MOVED = "moved"
    """Another link moved the position: the peer has to greet, so that its messages are known by their ids."""


@dataclass(frozen=True)
class StreamPosition:
    """The place of an inbox on a stream.

    Attributes:
        stream: the id of the outbox's stream.
        offset: the number of the last message that was taken; 0 before the first.
        last: the id of that message, or of the last one before where this number has none; ``None`` if not known.
    """

    stream: str
    offset: int
    last: str | None = None


@dataclass(frozen=True)
class StreamBounds:
    """The numbers of an outbox.

    Attributes:
        stream: the id of the stream, made with the store.
        first: the number after those that were acknowledged.
        next: the number of the message that is put next.
        last: the id of the last message that was acknowledged, ``None`` where it is not known.
    """

    stream: str
    first: int
    next: int
    last: str | None = None


@dataclass(frozen=True)
class Window:
    """The amount that may be on its way without an ack; a limit, not a promise."""

    messages: int
    size: int


@dataclass(frozen=True)
class QueueTerms:
    """The part of a hello that is about queues.

    Attributes:
        bounds: of the outbox of this end, ``None`` where it has none.
        accepts: whether this end acknowledges messages: it has an inbox.
        position: of its inbox on the stream that the peer named.
        window: how much the peer may send without an ack.
        largest: the bytes of the largest message that this end receives; ``None`` if it does not say so.
    """

    bounds: StreamBounds | None = None
    accepts: bool = False
    position: StreamPosition | None = None
    window: Window | None = None
    largest: int | None = None


@dataclass(frozen=True)
class Hello:
    """An end introduces itself, or answers an introduction; an answer is never answered.

    Attributes:
        queue: ``None`` before authentication, when an end only says that more will follow.
        is_answer: whether it answers a hello.
    """

    queue: QueueTerms | None = None
    is_answer: bool = False


@dataclass(frozen=True)
class Ack:
    """All messages up to a position are taken.

    Attributes:
        position: of the inbox.
        greets: whether it answers the bounds in a hello, and so names the id of the last message.
    """

    position: StreamPosition
    greets: bool = False


@dataclass(frozen=True)
class Nack:
    """A message was not taken.

    Attributes:
        stream: the id of the stream.
        expected: the number of the message that the inbox waits for, or that it cannot take.
        reason: why.
    """

    stream: str
    expected: int
    reason: NackReason


@dataclass(frozen=True)
class Skip:
    """Numbers that have no message any more: it was purged, or became a dead letter of the outbox.

    Attributes:
        stream: the id of the stream.
        after: the number before the first of them.
        to: the last of them.
    """

    stream: str
    after: int
    to: int


Frame = Hello | Ack | Nack | Skip


def write_frame(frame: Frame) -> tuple[str, dict[str, Any]]:
    """Return the event and the payload of a system message; the payload is an object always."""
    if isinstance(frame, Hello):
        return "hello", _write_hello(frame)
    if isinstance(frame, Ack):
        payload = {"stream": frame.position.stream, "offset": frame.position.offset}
        return "ack", {**payload, "last": frame.position.last} if frame.greets else payload
    if isinstance(frame, Nack):
        return "nack", {"stream": frame.stream, "expected": frame.expected, "reason": frame.reason.value}
    return "skip", {"stream": frame.stream, "after": frame.after, "to": frame.to}


def _write_hello(hello: Hello) -> dict[str, Any]:
    payload: dict[str, Any] = {"v": VERSION, "agent": AGENT}
    if hello.is_answer:
        payload["re"] = VERSION
    terms = hello.queue
    if terms is None:
        return payload
    queue: dict[str, Any] = {}
    if terms.position is not None:
        position = terms.position
        queue["ack"] = {"stream": position.stream, "offset": position.offset, "last": position.last}
    if terms.window is not None:
        queue["window"] = [terms.window.messages, terms.window.size]
    if terms.largest is not None:
        queue["max"] = terms.largest
    if terms.bounds is not None:
        queue.update(stream=terms.bounds.stream, first=terms.bounds.first, next=terms.bounds.next)
        if terms.bounds.last is not None:
            queue["last"] = terms.bounds.last
    return {**payload, "queue": {**queue, "accept": terms.accepts}}


def read_frame(event: str, payload: Any) -> Frame:
    """Return the frame that a system message is; keys that are not known are passed over.

    Args:
        event: one of `EVENTS`.
        payload: the payload of the message.

    Raises:
        SocketMessageMalformed: a field is missing or invalid.
    """
    if not isinstance(payload, Mapping):
        raise SocketMessageMalformed(f"received a {event} whose payload is not an object")
    try:
        if event == "hello":
            return _read_hello(payload)
        stream = _stream(payload)
        if event == "ack":
            return Ack(_position(payload), "last" in payload)
        if event == "nack":
            return Nack(stream, _number(payload, "expected", 1), NackReason(payload.get("reason")))
        after, to = _number(payload, "after"), _number(payload, "to", 1)
        if after >= to:
            raise ValueError("skips nothing")
        return Skip(stream, after, to)
    except ValueError as error:
        raise SocketMessageMalformed(f"received a {event} that {error}") from error


def _read_hello(payload: Mapping[str, Any]) -> Hello:
    _number(payload, "v", 1)
    is_answer, queue = bool(payload.get("re")), payload.get("queue")
    if queue is None:
        return Hello(None, is_answer)
    if not isinstance(queue, Mapping):
        raise ValueError("has a queue that is not an object")
    terms = QueueTerms(accepts=queue.get("accept") is True)
    if queue.get("stream") is not None:
        bounds = StreamBounds(_stream(queue), _number(queue, "first", 1), _number(queue, "next", 1), _last(queue))
        if bounds.first > bounds.next:
            raise ValueError("has a stream that ends before it begins")
        terms = replace(terms, bounds=bounds)
    if queue.get("ack") is not None:
        if not isinstance(queue["ack"], Mapping):
            raise ValueError("has an ack that is not an object")
        terms = replace(terms, position=_position(queue["ack"]))
    largest = None if queue.get("max") is None else _number(queue, "max", 1)
    return Hello(replace(terms, window=_window(queue.get("window")), largest=largest), is_answer)


def _window(value: Any) -> Window | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(_is_number(each) and each > 0 for each in value)):
        raise ValueError("has a window that is not two numbers")
    return Window(*value)


def _position(payload: Mapping[str, Any]) -> StreamPosition:
    return StreamPosition(_stream(payload), _number(payload, "offset"), _last(payload))


def _last(payload: Mapping[str, Any]) -> str | None:
    last = payload.get("last")
    if last is not None and not isinstance(last, str):
        raise ValueError("has an id that is not a text")
    return last


def _stream(payload: Mapping[str, Any]) -> str:
    stream = payload.get("stream")
    if not isinstance(stream, str) or not 0 < len(stream) <= MAX_STREAM_LENGTH:
        raise ValueError("has no stream")
    return stream


def _number(payload: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = payload.get(name)
    if not _is_number(value) or not least <= value <= MAX_SEQ:
        raise ValueError(f"has no {name}")
    return value


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
