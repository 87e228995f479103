"""A write that fails while the reason is in the buffer: the reason of the peer is the one that counts."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketConnectionError
from owlsocket_sync.runtime import failed_write
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.runtime.link_state import LinkStatus
from support.helpers import scaled
from support.linked import Run, aside, within
from support.sockets import TEXT, close_frame, frame

RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
WAYS: dict[str, Callable[[Link], object]] = {
    "a message": lambda link: link.write([b"x"], within()),
    "a batch": lambda link: link.write([b"x" * 40_000] * 3, within()),
    "a call": lambda link: link.send_and_read([b"x"], within(), lambda: False),
    "a ping": lambda link: link.ping(within()),
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A link on which the next write fails, and which reads only after that: what came before is in the buffer."""
    run = Run()
    stream, reader = run.link._stream, run.link._reader
    reader._leader = (0,)

    def fail(*arguments: object) -> None:
        if reader._leader == (0,):
            assert stream.poll_readable(within().at)
            reader._leader = None
        raise RESET

    monkeypatch.setattr(type(stream), "send_some", fail)
    yield run
    run.stop()


@pytest.mark.parametrize("way", WAYS)
def test_the_close_frame_of_the_peer_tells_why(run: Run, way: str) -> None:
    """And what came before it is read, whether or not there is room."""
    run.room.clear()
    run.peer.send(frame(TEXT, b"before") + close_frame(1009, "message too big"))
    with pytest.raises(SocketConnectionError, match="1009 message too big") as raised:
        WAYS[way](run.link)
    assert raised.value.__cause__ is RESET
    ending = run.ended()
    assert (ending.code, ending.reason) == (1009, "message too big")
    assert run.got.items == ["before"]


def test_closing_finds_the_close_frame_of_the_peer(run: Run) -> None:
    """Although ours cannot be sent any more."""
    run.peer.send(close_frame(1013, "try later"))
    run.link.close(1000, "", within())
    assert (run.ended().code, run.ended().reason) == (1013, "try later")


def test_a_write_of_the_reader_fails(run: Run) -> None:
    """Such as the pong for a ping that came before the close frame."""
    run.peer.send(close_frame(1009, "message too big"))
    run.link.send_close(1000, "")
    assert run.ended().code == 1009


@pytest.mark.parametrize("end", ["the end of the stream", "nothing"])
def test_without_a_close_frame_the_failure_is_the_reason(run: Run, end: str) -> None:
    """Soon, if the stream is at its end; after a moment, if the peer says nothing more."""
    run.peer.send(frame(TEXT, b"before"))
    if end != "nothing":
        run.peer.sock.close()
    with pytest.raises(SocketConnectionError, match=r"the link broke: .*Connection reset by peer"):
        run.link.write([b"x"], within())
    ending = run.ended()
    assert (ending.code, ending.error) == (1006, RESET)
    assert run.got.items == ["before"]


def test_a_writer_does_not_wait_beyond_its_deadline(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is held up does not hold up others: the link ends with what is known."""
    monkeypatch.setattr(failed_write, "REST_TIMEOUT", scaled(30))
    monkeypatch.setattr(failed_write, "SETTLE_TIMEOUT", scaled(30))
    run.peer.send(frame(TEXT, b"before"))
    outcome = aside(lambda: run.link.write([b"x"], Deadline(0.1)))
    assert "the link broke" in str(outcome.wait(1, 5)[0])
    assert run.ended().code == 1006


@pytest.mark.parametrize("way", WAYS)
def test_a_message_during_the_answer_to_a_close_frame_fails_with_its_reason(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader has answered it already, and has yet to end the link."""
    run, answered, waits = Run(), threading.Event(), threading.Event()
    send_close, wait = run.link._writer.send_close, LinkStatus.wait

    def answer(*arguments: Any) -> bool:
        try:
            return send_close(*arguments)
        finally:
            answered.set()
            waits.wait(scaled(1))

    def wait_noticed(status: LinkStatus, *arguments: Any) -> bool:
        waits.set()
        return wait(status, *arguments)

    monkeypatch.setattr(type(run.link._writer), "send_close", staticmethod(answer))
    monkeypatch.setattr(LinkStatus, "wait", wait_noticed)
    run.peer.send(close_frame(4401, "no"))
    assert answered.wait(scaled(5))
    with pytest.raises(SocketConnectionError, match="4401 no"):
        WAYS[way](run.link)
    assert run.ended().code == 4401
    run.stop()
