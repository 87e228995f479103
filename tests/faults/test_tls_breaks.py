"""TLS links that break or stall within a record: an abnormal end at once, and never a part of a message (row 18)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from owlsocket_sync import Backoff, ConnectionState, Heartbeat, SocketConnectionError, connect
from support.figures import Figure
from support.helpers import Collector, eventually, scaled
from support.linked import aside
from support.sockets import TEXT, ByteServer, RawPeer, client_context, close_frame, frame, server_context
from support.tls_ends import RecordSocket, record_peer

FAILS_WITHIN = 0.2
BEAT = Heartbeat(interval=0.2, timeout=0.2)
FOUND_WITHIN = BEAT.interval + BEAT.timeout + 1.0
MESSAGE = b'{"type":"event","event":"whole","payload":"' + b"x" * 9_000 + b'"}'

Play = Callable[[RawPeer, RecordSocket], object]


class Stage:
    """A server whose records are sent by hand, once the client has called, and a client that waits for an answer."""

    def __init__(self, play: Play, heartbeat: Heartbeat | None = None, reconnect: Backoff | None = None) -> None:
        self._play = play
        self.go = threading.Event()
        self.messages, self.states = Collector(), Collector()
        self.server = ByteServer(self._serve)
        self.conn = connect(
            self.server.url.replace("ws:", "wss:"),
            ssl_context=client_context(),
            heartbeat=heartbeat,
            reconnect=reconnect,
        )
        self.conn.observe("*", lambda event: self.messages(event.event))
        self.conn.on_state(self.states)

    def _serve(self, peer: RawPeer) -> None:
        secure, records = record_peer(peer, server_context())
        secure.upgrade()
        secure.read_frame()
        assert self.go.wait(scaled(5))
        self._play(secure, records)

    def lost_call(self) -> tuple[float, Exception]:
        """Call, let the server play, and measure how long after that the call fails, and with what."""
        outcome = aside(lambda: self.conn.call("never", timeout=60))
        self.go.set()
        began = time.monotonic()
        (error,) = outcome.wait(1)
        assert isinstance(error, Exception)
        return time.monotonic() - began, error

    def ending(self) -> tuple[int | None, str]:
        """The code and the words with which the connection ended."""
        change = self.states.wait(1)[-1]
        assert change.state is ConnectionState.CLOSED
        return change.code, change.reason

    def close(self) -> None:
        """End everything."""
        self.conn.close(timeout=0.5)
        self.server.stop()


Start = Callable[..., Stage]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts stages, and ends them."""
    stages: list[Stage] = []

    def start_one(*arguments: object, **options: object) -> Stage:
        stages.append(Stage(*arguments, **options))  # type: ignore[arg-type]
        return stages[-1]

    yield start_one
    for stage in stages:
        stage.close()


def _leave(peer: RawPeer, records: RecordSocket) -> None:
    """End the stream without a word in TLS."""
    records.raw.close()


def _leave_politely(peer: RawPeer, records: RecordSocket) -> None:
    """Say in TLS that nothing more comes, and not a word in WebSocket."""
    records.raw.sendall(records.goodbye())
    records.raw.close()


def _leave_within(count: int) -> Play:
    """End the stream so many bytes into the record of a message."""

    def play(peer: RawPeer, records: RecordSocket) -> None:
        records.raw.sendall(records.seal(frame(TEXT, MESSAGE))[:count])
        records.raw.close()

    return play


def _leave_between(peer: RawPeer, records: RecordSocket) -> None:
    """End the stream after a record, and in the middle of a message."""
    records.sendall(frame(TEXT, MESSAGE)[:5_000])
    records.raw.close()


def _reset_within(count: int) -> Play:
    """Reset so many bytes into the record of a message."""

    def play(peer: RawPeer, records: RecordSocket) -> None:
        records.raw.sendall(records.seal(frame(TEXT, MESSAGE))[:count])
        RawPeer(records.raw).reset()

    return play


BREAKS = [
    pytest.param(_leave, id="no-close-notify"),
    pytest.param(_leave_politely, id="close-notify-alone"),
    pytest.param(_leave_between, id="between-records"),
    *(pytest.param(_leave_within(count), id=f"within-{count}") for count in (1, 4, 5, 6, 21, 5_000, 9_000)),
    *(pytest.param(_reset_within(count), id=f"reset-{count}") for count in (1, 5, 5_000)),
]


@pytest.mark.timing
@pytest.mark.parametrize("play", BREAKS)
def test_row_18_an_end_without_close_notify_is_abnormal(start: Start, figure: Figure, play: Play) -> None:
    """FIN or reset, at whatever byte of a record: 1006, calls fail at once, and no part of a message is delivered."""
    stage = start(play)
    seconds, error = stage.lost_call()
    figure("calls fail after", seconds, scaled(FAILS_WITHIN), "s")
    assert isinstance(error, SocketConnectionError)
    assert error.code == "CONNECTION_LOST"
    assert stage.ending()[0] == 1006
    assert stage.messages.items == []
    assert stage.conn.stats.malformed == 0


def test_row_18_complete_messages_before_the_end_are_delivered(start: Start) -> None:
    """A message whose record was complete is not lost to what broke after it."""

    def play(peer: RawPeer, records: RecordSocket) -> None:
        records.sendall(frame(TEXT, MESSAGE))
        _leave_within(100)(peer, records)

    stage = start(play)
    stage.lost_call()
    assert stage.messages.wait(1) == ["whole"]
    assert stage.ending()[0] == 1006


@pytest.mark.parametrize("count", [1, 5, 5_000])
def test_row_18_a_record_that_never_ends_is_a_dead_link(start: Start, figure: Figure, count: int) -> None:
    """A peer that stalls within a record is found by the heartbeat like one that stalls before it."""
    over = threading.Event()

    def play(peer: RawPeer, records: RecordSocket) -> None:
        records.raw.sendall(records.seal(frame(TEXT, MESSAGE))[:count])
        over.wait(scaled(5))

    stage = start(play, BEAT)
    seconds, error = stage.lost_call()
    over.set()
    figure("a stall is found after", seconds, scaled(FOUND_WITHIN), "s")
    assert isinstance(error, SocketConnectionError)
    code, reason = stage.ending()
    assert code == 1006
    assert "heartbeat timeout" in reason
    assert stage.messages.items == []


@pytest.mark.parametrize("count", [1, 5, 5_000])
def test_row_18_a_pause_within_a_record_loses_nothing(start: Start, count: int) -> None:
    """While half a record is here the client still writes; when the rest comes the message is whole."""
    stalled, resume = threading.Event(), threading.Event()

    def play(peer: RawPeer, records: RecordSocket) -> None:
        sealed = records.seal(frame(TEXT, MESSAGE))
        records.raw.sendall(sealed[:count])
        stalled.set()
        assert b"meanwhile" in peer.read_frame().payload
        assert resume.wait(scaled(5))
        records.raw.sendall(sealed[count:])
        peer.send(close_frame(1000))
        peer.at_end()

    stage = start(play, Heartbeat(5, 5))
    outcome = aside(lambda: stage.conn.call("never", timeout=60))
    stage.go.set()
    assert stalled.wait(scaled(5))
    stage.conn.notify("meanwhile")
    assert stage.messages.items == []
    resume.set()
    assert stage.messages.wait(1) == ["whole"]
    assert isinstance(outcome.wait(1)[0], SocketConnectionError)
    assert stage.ending()[0] == 1000


def test_row_18_a_broken_record_is_followed_by_a_new_link() -> None:
    """A client that reconnects does so after a record that was cut, and what it says then arrives."""
    arrived = Collector()

    def script(peer: RawPeer) -> None:
        secure, records = record_peer(peer, server_context())
        secure.upgrade()
        if server.accepted == 1:
            _leave_within(5_000)(secure, records)
        else:
            arrived(secure.read_frame().payload)
            secure.read_frame()
            secure.send(close_frame(1000))
            secure.at_end()

    with ByteServer(script) as server:
        url = server.url.replace("ws:", "wss:")
        with connect(url, ssl_context=client_context(), reconnect=Backoff(initial=0.02)) as conn:
            eventually(lambda: server.accepted == 2 and conn.state is ConnectionState.OPEN)
            conn.notify("again")
            assert b"again" in arrived.wait(1)[0]
            assert conn.stats.reconnects == 1
