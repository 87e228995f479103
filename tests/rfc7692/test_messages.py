"""Deflated messages of a raw peer, valid and not, at both ends."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from fuzz.memory import Growth
from owlsocket_sync import Limits, SocketMessageError
from rfc7692.ends import CLIENT, LIMIT, SERVER, ends
from support.deflating import RSV1, deflate, deflated, deflated_frame, json_rows
from support.helpers import Collector, eventually, scaled
from support.linked import aside
from support.sockets import BINARY, CONTINUATION, PING, PONG, TEXT, frame

pytestmark = pytest.mark.slow

both_sides = pytest.mark.parametrize("side", [CLIENT, SERVER])
ROWS = json.loads(json_rows(3000))
TEXT_OF_ROWS = json.dumps({"type": "event", "event": "e", "payload": ROWS})
MIB = 1024 * 1024


def pieces(payload: bytes, count: int) -> list[bytes]:
    """The payload in so many parts, the last of which may be shorter."""
    size = len(payload) // count + 1
    return [payload[at : at + size] for at in range(0, len(payload), size)]


def fragmented(payload: bytes, count: int, between: bytes = b"", **options: Any) -> bytes:
    """A deflated message in fragments, with other frames between them."""
    first, *middle, last = pieces(payload, count)
    frames = [frame(TEXT, first, fin=False, rsv=RSV1, **options)]
    frames += [frame(CONTINUATION, piece, fin=False, **options) for piece in middle]
    return between.join([*frames, frame(CONTINUATION, last, **options)])


MESSAGES = {
    "whole": lambda options: deflated_frame(TEXT_OF_ROWS, **options),
    "binary": lambda options: frame(BINARY, deflated(TEXT_OF_ROWS), rsv=RSV1, **options),
    "with the smallest window": lambda options: frame(
        TEXT, deflate(TEXT_OF_ROWS.encode(), bits=9)[:-4], rsv=RSV1, **options
    ),
    "not compressed, in blocks": lambda options: frame(
        TEXT, deflate(TEXT_OF_ROWS.encode(), level=0)[:-4], rsv=RSV1, **options
    ),
    "with a final block": lambda options: frame(
        TEXT, deflate(TEXT_OF_ROWS.encode(), flush=zlib.Z_FINISH), rsv=RSV1, **options
    ),
    "with a final block and an empty one": lambda options: frame(
        TEXT, deflate(TEXT_OF_ROWS.encode(), flush=zlib.Z_FINISH) + b"\0", rsv=RSV1, **options
    ),
    "in fragments": lambda options: fragmented(deflated(TEXT_OF_ROWS), 7, **options),
    "in fragments of a byte": lambda options: fragmented(deflated(TEXT_OF_ROWS), 100_000, **options),
    "in fragments, pings between": lambda options: fragmented(
        deflated(TEXT_OF_ROWS), 5, frame(PING, b"p", **options) + frame(PONG, b"q", **options), **options
    ),
    "plain": lambda options: frame(TEXT, TEXT_OF_ROWS.encode(), **options),
    "plain, in fragments": lambda options: (
        frame(TEXT, TEXT_OF_ROWS[:100].encode(), fin=False, **options)
        + frame(CONTINUATION, TEXT_OF_ROWS[100:].encode(), **options)
    ),
}


@both_sides
@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_arrives(side: str, message: Any) -> None:
    """Whole, however it was deflated; so does the next one."""
    with ends(side) as (conn, peer, events, errors, options):
        data = message(options)
        peer.send(data * 2)
        assert events.wait(2) == [ROWS, ROWS]
        assert errors.items == []


@both_sides
def test_an_empty_message_is_no_message_of_the_protocol(side: str) -> None:
    """It is reported as malformed, and the link goes on."""
    with ends(side) as (conn, peer, events, errors, options):
        for payload in (b"\0", b""):
            peer.send(frame(TEXT, payload, rsv=RSV1, **options))
        peer.send(deflated_frame(TEXT_OF_ROWS, **options))
        assert events.wait(1) == [ROWS]
        assert (conn.stats.malformed, conn.stats.messages_in) == (2, 3)


VIOLATIONS = {
    "garbage": (lambda options: frame(TEXT, b"\xff" * 20, rsv=RSV1, **options), 1007),
    "cut": (lambda options: frame(TEXT, deflated(TEXT_OF_ROWS)[:-3], rsv=RSV1, **options), 1007),
    "cut, in fragments": (lambda options: fragmented(deflated(TEXT_OF_ROWS)[:-3], 4, **options), 1007),
    "a text that is not UTF-8": (lambda options: frame(TEXT, deflated(b"\xff" * 99), rsv=RSV1, **options), 1007),
    "a deflated ping": (lambda options: frame(PING, deflated(b"p"), rsv=RSV1, **options), 1002),
    "a deflated pong": (lambda options: frame(PONG, deflated(b"p"), rsv=RSV1, **options), 1002),
    "a continuation that says so": (
        lambda options: (
            frame(TEXT, deflated(TEXT_OF_ROWS)[:50], fin=False, rsv=RSV1, **options)
            + frame(CONTINUATION, deflated(TEXT_OF_ROWS)[50:], rsv=RSV1, **options)
        ),
        1002,
    ),
    "a continuation of a plain message that says so": (
        lambda options: (
            frame(TEXT, TEXT_OF_ROWS[:50].encode(), fin=False, **options)
            + frame(CONTINUATION, TEXT_OF_ROWS[50:].encode(), rsv=RSV1, **options)
        ),
        1002,
    ),
    "a message within a message": (
        lambda options: (
            frame(TEXT, deflated(TEXT_OF_ROWS)[:50], fin=False, rsv=RSV1, **options)
            + deflated_frame(TEXT_OF_ROWS, **options)
        ),
        1002,
    ),
    "the second reserved bit": (lambda options: frame(TEXT, deflated("x"), rsv=6, **options), 1002),
    "the third reserved bit": (lambda options: frame(TEXT, deflated("x"), rsv=1, **options), 1002),
}


@both_sides
@pytest.mark.parametrize(("frames", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_violation_ends_the_link(side: str, frames: Any, code: int) -> None:
    """With the code that is due; nothing of the message is delivered."""
    with ends(side) as (conn, peer, events, errors, options):
        peer.send(frames(options))
        assert peer.read_code() == code
        assert str(code) in errors.wait(1)[0]
        assert events.items == []


@both_sides
def test_a_message_is_looked_at_twice(side: str) -> None:
    """A thread that waits for its answer looks at an event, and leaves it to the reader; both arrive, in any row."""
    with ends(side) as (conn, peer, events, errors, options):
        for number in range(20):
            answer = aside(lambda: conn.call("ask", timeout=scaled(10)))
            id = json.loads(peer.read_message()[1])["id"]
            result = json.dumps({"type": "result", "id": id, "payload": [number, *ROWS]})
            peer.send(deflated_frame(TEXT_OF_ROWS, **options) + deflated_frame(result, **options))
            assert answer.wait(1) == [[number, *ROWS]]
            assert len(events.wait(number + 1)) == number + 1
        assert events.items == [ROWS] * 20
        stats = conn.stats
        assert (stats.messages_in, stats.malformed) == (40, 0)
        assert stats.wire_bytes_in < stats.bytes_in / 3


def _bomb(size: int) -> bytes:
    """A message of so many MiB, a thousand times as large as its payload."""
    return deflate(bytes(16 * MIB), 9, flush=zlib.Z_FULL_FLUSH) * (size // 16)


BOMBS = {
    "64 MiB": lambda options: frame(TEXT, _bomb(64), rsv=RSV1, **options),
    "4 GiB": lambda options: frame(TEXT, _bomb(4096), rsv=RSV1, **options),
    "1 GiB, in fragments": lambda options: fragmented(_bomb(1024), 500, **options),
}


@pytest.mark.slow
@both_sides
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(side: str, bomb: Any) -> None:
    """With 1009, within the memory that a message of the size of the limit takes, and nothing else suffers."""
    with ends(side, limits=Limits(message_size=LIMIT)) as (conn, peer, events, errors, options):
        data = bomb(options)
        with Growth() as growth:
            peer.send(data)
            assert peer.read_code() == 1009
        assert growth.bytes < 2.2 * LIMIT
        assert "message inflates to more than the limit of 16777216 bytes (Limits.message_size)" in errors.wait(1)[0]


@both_sides
def test_the_answer_that_is_too_large_fails_its_call(side: str) -> None:
    """The beginning that was inflated says which one it is; nothing is sent again."""
    with ends(side, limits=Limits(message_size=100_000)) as (conn, peer, events, errors, options):
        answer = aside(lambda: conn.call("ask", timeout=scaled(10), retry=True))
        id = json.loads(peer.read_message()[1])["id"]
        text = json.dumps({"type": "result", "id": id, "payload": "x" * 200_000})
        peer.send(deflated_frame(text, **options))
        (error,) = answer.wait(1)
        assert isinstance(error, SocketMessageError)
        assert "the answer to call 'ask' is larger than Limits.message_size" in str(error)


@both_sides
@pytest.mark.parametrize("count", [1, 3], ids=["a frame", "fragments"])
def test_so_does_one_that_is_too_large_as_it_travels(side: str, count: int) -> None:
    """Its payload is refused by the header, and the beginning of it inflated."""
    with ends(side, limits=Limits(message_size=2000)) as (conn, peer, events, errors, options):
        answer = aside(lambda: conn.call("ask", timeout=scaled(10), retry=True))
        id = json.loads(peer.read_message()[1])["id"]
        text = json.dumps({"type": "result", "id": id, "payload": json_rows(20_000).decode()})
        payload = deflated(text)
        assert len(payload) > 2000
        peer.send(deflated_frame(text, **options) if count == 1 else fragmented(payload, count, **options))
        (error,) = answer.wait(1)
        assert "the answer to call 'ask' is larger than Limits.message_size" in str(error)


@both_sides
@pytest.mark.parametrize("rest", [b"", b"{"], ids=["at the limit", "above it"])
def test_the_limit_is_that_of_the_text(side: str, rest: bytes) -> None:
    """To the byte."""
    text = TEXT_OF_ROWS.encode() + b" " * (50_000 - len(TEXT_OF_ROWS)) + rest
    with ends(side, limits=Limits(message_size=50_000)) as (conn, peer, events, errors, options):
        peer.send(deflated_frame(text, **options))
        if rest:
            assert peer.read_code() == 1009
        else:
            assert events.wait(1) == [ROWS]


@both_sides
def test_links_are_independent(side: str) -> None:
    """A link that a violation ended leaves nothing behind for the next one."""
    for _ in range(2):
        with ends(side) as (conn, peer, events, errors, options):
            peer.send(deflated_frame(TEXT_OF_ROWS, **options) + frame(TEXT, b"\xff", rsv=RSV1, **options))
            assert peer.read_code() == 1007
            assert events.wait(1) == [ROWS]


def test_a_backlog_counts_what_was_inflated() -> None:
    """A peer that sends a little that becomes much is not read on either: reading pauses at the limit."""
    limits = Limits(dispatch_bytes=MIB)
    blocked = Collector()
    with ends(CLIENT, limits=limits, workers=1) as (conn, peer, events, errors, options):
        from threading import Event

        release = Event()
        conn.observe("hold", lambda message: (blocked(1), release.wait(scaled(20))))
        large = json.dumps({"type": "event", "event": "hold", "payload": "x" * 100_000})
        peer.send(deflated_frame(large, **options) * 200)
        blocked.wait(1)
        eventually(lambda: conn.stats.backlog >= 1)
        seen = conn.stats.messages_in
        assert seen < 100, "reading pauses long before all of it was inflated"
        release.set()
        eventually(lambda: conn.stats.messages_in == 200, 20)
