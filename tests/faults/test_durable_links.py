"""Outboxes and inboxes on real links: cut, silent, restored from backups, and towards peers that know none of it."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import (
    Backoff,
    Connection,
    MessagesLost,
    SocketConnectionError,
    SocketTimeout,
    StoreError,
    StoreFull,
    connect,
)
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.stores import Queue, SqliteStore
from owlsocket_sync.testing import FaultProxy
from support.handlers import echo
from support.helpers import Collector, eventually, scaled, whole
from support.sockets import CLOSE, PING, PONG, TEXT, ByteServer, RawPeer, frame
from wire.recorded import SCENARIOS

pytestmark = pytest.mark.slow

SOON = Backoff(initial=0.01, cap=0.05)


@pytest.fixture
def near(tmp_path: Path) -> Iterator[SqliteStore]:
    """The store of this end."""
    with SqliteStore(tmp_path / "near.db") as store:
        yield store


@pytest.fixture
def far(tmp_path: Path) -> Iterator[SqliteStore]:
    """The store of the other end."""
    with SqliteStore(tmp_path / "far.db") as store:
        yield store


@contextmanager
def cutting(proxy: FaultProxy, seconds: float) -> Iterator[list[int]]:
    """Cut the link again and again."""
    over, cuts = threading.Event(), [0]

    def cut() -> None:
        while not over.wait(seconds):
            proxy.cut()
            cuts[0] += 1

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield cuts
    finally:
        over.set()
        thread.join()


def threads_named(word: str) -> int:
    """How many threads have this word in their names."""
    return sum(word in thread.name for thread in threading.enumerate())


# -- cuts --------------------------------------------------------------------------------------------------------------


def test_a_link_that_is_cut_every_50_ms_loses_nothing_and_stores_nothing_twice(
    near: SqliteStore, far: SqliteStore
) -> None:
    """In both directions at once, and in order."""
    count = whole(1500, 3000)
    up, down = Collector(), Collector()

    def handler(connection: Connection, request: Request) -> None:
        connection.on_error(lambda error, context: up(error))

    with (
        serve(handler, inbox=far.queue("in"), outbox=lambda request: far.queue("out")) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.url(), inbox=near.queue("in"), outbox=near.queue("out"), reconnect=SOON) as connection,
    ):
        connection.on_error(lambda error, context: down(error))
        with cutting(proxy, 0.05) as cuts:
            for number in range(count):
                connection.enqueue(number)
                if number % 100 == 0:
                    far.queue("out").put_many(range(number, number + 100))
            eventually(lambda: cuts[0] >= 5)
        connection.flush(scaled(30))
        eventually(lambda: len(far.queue("out")) == 0, 30)
        for store in (near, far):
            assert [message.payload for message in store.queue("in").peek(2 * count)] == list(range(count))
    assert not up.items
    assert not down.items


def test_a_silent_link_delays_and_a_call_does_not_wait_for_the_queue(near: SqliteStore, far: SqliteStore) -> None:
    """While the network swallows everything, `enqueue` returns at once; afterwards everything arrives."""
    with (
        serve(echo, inbox=far.queue("in")) as server,
        FaultProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.url(), outbox=near.queue("out"), reconnect=SOON) as connection,
    ):
        proxy.blackhole()
        for number in range(50):
            connection.enqueue(number)
        with pytest.raises(SocketTimeout, match="50 messages"):
            connection.flush(0.05)
        proxy.blackhole(False)
        proxy.cut()
        connection.flush(scaled(10))
        assert len(far.queue("in")) == 50
        assert connection.call("echo", 1) == 1


def test_a_newer_link_takes_over_from_one_that_is_half_open(near: SqliteStore, far: SqliteStore) -> None:
    """The server does not wait for its heartbeat: the newer link of a stream closes the older one, and goes on."""
    endings = Collector()
    with (
        serve(
            lambda connection, request: connection.on_state(endings),
            inbox=far.queue("in"),
            outbox=lambda request: far.queue("out"),
        ) as server,
        FaultProxy("127.0.0.1", server.port) as first,
        FaultProxy("127.0.0.1", server.port) as second,
    ):
        urls = iter([first.url()])
        with connect(
            lambda: next(urls, second.url()), inbox=near.queue("in"), outbox=near.queue("out"), reconnect=SOON
        ) as connection:
            connection.enqueue(1)
            connection.flush(scaled(5))
            first.blackhole()
            connection.reconnect()
            connection.enqueue(2)
            connection.flush(scaled(5))
            connection_of_server = server.connections[-1]
            connection_of_server.enqueue("down")
            eventually(lambda: len(near.queue("in")) == 1)
            eventually(lambda: len(far.queue("out")) == 0)
            eventually(lambda: any(change.reason == "taken over" for change in endings.items))
        assert [message.payload for message in far.queue("in").peek()] == [1, 2]


def test_a_blocked_consumer_fills_the_outbox_and_then_raises(tmp_path: Path) -> None:
    """Nothing is dropped on the way, and calls go on; once it works again, all is delivered in order."""
    with (
        SqliteStore(tmp_path / "near.db", max_messages=20) as near,
        SqliteStore(tmp_path / "far.db", max_messages=10) as far,
        serve(echo, inbox=far.queue("in")) as server,
        connect(server.url, outbox=near.queue("out")) as connection,
    ):
        sent = 0
        with pytest.raises(StoreFull):
            while sent < 100:
                connection.enqueue(sent)
                sent += 1
                if sent == 10:
                    eventually(lambda: len(far.queue("in")) == 10)
        assert sent == 30
        assert connection.call("echo", 1) == 1
        worked = [message.payload for message in far.queue("in").messages(timeout=scaled(2), limit=sent)]
        assert worked == list(range(sent))
        connection.flush(scaled(5))


def test_row_a19_a_consumer_that_blocks_for_ever_holds_up_nobody(tmp_path: Path) -> None:
    """Its message stays its own; others work on the rest, calls go on, and enqueue raises only where all is full."""
    with (
        SqliteStore(tmp_path / "near.db", max_messages=20) as near,
        SqliteStore(tmp_path / "far.db", max_messages=10) as far,
        serve(echo, inbox=far.queue("in")) as server,
        connect(server.url, outbox=near.queue("out")) as connection,
    ):
        inbox, over = far.queue("in"), threading.Event()
        held = Collector()

        def block() -> None:
            for message in inbox.messages(timeout=scaled(20), limit=1):
                held(message.payload)
                over.wait(scaled(60))

        thread = threading.Thread(target=block)
        thread.start()
        try:
            connection.enqueue(0)
            eventually(lambda: held.items == [0])
            for number in range(1, 41):
                connection.enqueue(number)
                message = inbox.get(timeout=scaled(10))
                assert message is not None
                assert message.payload == number
                message.ack()
            assert connection.call("echo", 1) == 1
            sent = 0
            with pytest.raises(StoreFull):
                while sent < 100:
                    connection.enqueue(sent)
                    sent += 1
            eventually(lambda: len(inbox) == 9)
            assert (inbox.stats.in_flight, connection.call("echo", 2)) == (1, 2)
            worked = [message.payload for message in inbox.messages(timeout=scaled(2), limit=sent)]
            assert worked == list(range(sent))
            connection.flush(scaled(5))
        finally:
            over.set()
            thread.join(scaled(10))
        assert (held.items, inbox.stats.in_flight) == ([0], 0)


# -- backups -----------------------------------------------------------------------------------------------------------


def deliver(out: Path, inward: Path, payloads: list[int], errors: Collector, how: str = "enqueue") -> list[int]:
    """Send these from one file to another, and return all that is in the other."""

    def handler(connection: Connection, request: Request) -> None:
        connection.on_error(lambda error, context: errors(error))

    with SqliteStore(out) as near, SqliteStore(inward) as far:
        for payload in payloads if how == "put" else ():
            near.queue("out").put(payload)
        with (
            serve(handler, inbox=far.queue("in")) as server,
            connect(server.url, outbox=near.queue("out")) as connection,
        ):
            for payload in payloads if how == "enqueue" else ():
                connection.enqueue(payload)
            connection.flush(scaled(10))
        return [message.payload for message in far.queue("in").peek(1000)]


def back_up(path: Path) -> Path:
    """Copy a store that nothing uses."""
    with SqliteStore(path):
        pass
    return Path(shutil.copy(path, f"{path}.backup"))


def restore(path: Path, backup: Path) -> None:
    """Put a backup in the place of a store."""
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    shutil.copy(backup, path)


@pytest.mark.parametrize("how", ["enqueue", "put"])
def test_an_outbox_that_is_restored_loses_nothing_that_is_sent_since(tmp_path: Path, how: str) -> None:
    """Although it gives old numbers to other messages: their ids differ, also of those that another program put."""
    out, inward, errors = tmp_path / "out.db", tmp_path / "in.db", Collector()
    deliver(out, inward, [1, 2], errors, how)
    backup = back_up(out)
    deliver(out, inward, [3, 4, 5], errors, how)
    restore(out, backup)
    arrived = deliver(out, inward, [30, 40, 50, 60], errors, how)
    assert arrived == [1, 2, 3, 4, 5, 30, 40, 50, 60]
    assert not errors.items


def test_an_inbox_that_is_restored_tells_how_many_it_lost(tmp_path: Path) -> None:
    """As `MessagesLost`, once."""
    out, inward, errors = tmp_path / "out.db", tmp_path / "in.db", Collector()
    deliver(out, inward, [1, 2], errors)
    backup = back_up(inward)
    deliver(out, inward, [3, 4, 5], errors)
    restore(inward, backup)
    assert deliver(out, inward, [6], errors) == [1, 2, 6]
    (error,) = errors.wait(1)
    assert isinstance(error, MessagesLost)
    assert error.count == 3
    deliver(out, inward, [7], errors)
    assert len(errors.items) == 1


# -- peers that know none of it ----------------------------------------------------------------------------------------


class ReferenceServer:
    """A server that does with queues and pings what the recorded one did; it can lose what it was about to read."""

    def __init__(self) -> None:
        self.queue: list[Any] = []
        self.texts: list[str] = []
        self.cut_after = 1_000_000
        (ping,) = [row.json for row in SCENARIOS["soft ping"] if row.way == "c2s"]
        answers = [row.text for row in SCENARIOS["soft ping"] if row.way == "s2c"]
        assert answers[0] == "<op 10 b''>"
        self._ping, self._pong = ping, answers[1].encode()

    def __call__(self, peer: RawPeer) -> None:
        """Serve one client."""
        peer.upgrade()
        for _ in range(self.cut_after):
            came = peer.read_frame()
            if came.opcode == PING:
                peer.send(frame(PONG, came.payload) + frame(PONG))
            elif came.opcode == TEXT:
                self._take(peer, came.payload.decode())
            elif came.opcode == CLOSE:
                peer.send(frame(CLOSE, came.payload))
                break
        peer.sock.close()

    def _take(self, peer: RawPeer, text: str) -> None:
        self.texts.append(text)
        message = json.loads(text)
        if message == self._ping:
            peer.send(frame(PONG) + frame(TEXT, self._pong))
        elif message["type"] == "message":
            self.queue.append(message)


def test_a_server_of_the_reference_gets_plain_messages_and_nothing_is_lost(near: SqliteStore) -> None:
    """What an answered ping proves to have arrived is deleted; links that end early send the rest again."""
    reference = ReferenceServer()
    reference.cut_after = 60
    with (
        ByteServer(reference) as server,
        connect(server.url, outbox=near.queue("out"), reconnect=SOON, heartbeat=None) as connection,
    ):
        for number in range(200):
            connection.enqueue(number, id=f"m{number}")
            if number == 150:
                reference.cut_after = 1_000_000
        connection.flush(scaled(20))
    counted = Counter(message["payload"] for message in reference.queue)
    assert sorted(counted) == list(range(200))
    assert {tuple(sorted(message)) for message in reference.queue} == {("dt", "id", "payload", "type")}
    assert all(message["id"] == f"m{message['payload']}" for message in reference.queue)
    system = [json.loads(text) for text in reference.texts if '"system"' in text]
    assert {message["event"] for message in system} == {"hello"}
    assert all(isinstance(message["payload"], dict) for message in system)


def talk(url: str, say: Callable[[RawPeer], object]) -> None:
    """Be a raw client."""
    host, port = url.removeprefix("ws://").split(":")
    with socket.create_connection((host, int(port)), scaled(5)) as sock:
        peer = RawPeer(sock)
        peer.send(
            f"GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        peer.read_header()
        say(peer)


def said(peer: RawPeer, message: Any) -> None:
    """Send a message as a client."""
    peer.send(frame(TEXT, json.dumps(message).encode(), masked=True))


def heard(peer: RawPeer) -> Any:
    """The next message; pings are answered."""
    while True:
        came = peer.read_frame(masked=False)
        if came.opcode == PING:
            peer.send(frame(PONG, came.payload, masked=True))
        elif came.opcode == TEXT:
            return json.loads(came.payload)


def test_a_client_of_the_reference_gets_plain_messages_after_a_websocket_ping(far: SqliteStore) -> None:
    """The server says no hello; its messages are deleted once the next ping is answered."""
    outbox = far.queue("out")
    outbox.put_many([1, 2, 3])
    with serve(lambda connection, request: None, outbox=lambda request: far.queue("out")) as server:

        def listen(peer: RawPeer) -> None:
            messages = [heard(peer) for _ in range(3)]
            assert [message["payload"] for message in messages] == [1, 2, 3]
            assert all(set(message) == {"type", "payload", "id"} for message in messages)
            came = peer.read_frame(masked=False)
            assert came.opcode == PING
            assert len(outbox) == 3
            peer.send(frame(PONG, came.payload, masked=True))
            eventually(lambda: len(outbox) == 0)

        talk(server.url, listen)


def test_the_frames_are_those_of_the_protocol(far: SqliteStore) -> None:
    """Between ends of different versions as well: names, places, and order."""
    far.queue("out").put("down", id="d1")
    stream = "0" * 32
    with serve(
        lambda connection, request: None, inbox=far.queue("in"), outbox=lambda request: far.queue("out")
    ) as server:

        def play(peer: RawPeer) -> None:
            queue = {"stream": stream, "first": 1, "next": 3, "accept": True}
            said(peer, {"type": "system", "event": "hello", "payload": {"v": 1, "agent": "other", "queue": queue}})
            answer = heard(peer)
            assert (answer["type"], answer["event"]) == ("system", "hello")
            assert answer["payload"]["re"] == answer["payload"]["v"] == 1
            terms = answer["payload"]["queue"]
            assert terms["ack"] == {"stream": stream, "offset": 0, "last": None}
            assert terms["window"] == [1000, 8388608]
            if "stream" not in terms:  # the handler had not returned yet
                terms = heard(peer)["payload"]["queue"]
            assert (terms["first"], terms["next"], terms["accept"]) == (1, 2, True)
            said(peer, {"type": "system", "event": "ack", "payload": {"stream": terms["stream"], "offset": 0}})
            assert heard(peer) == {"type": "message", "id": "d1", "payload": "down", "seq": 1}
            said(peer, {"type": "message", "id": "a", "payload": 1, "seq": 1})
            assert heard(peer) == {"type": "system", "event": "ack", "payload": {"stream": stream, "offset": 1}}
            said(peer, {"type": "message", "id": "c", "payload": 3, "seq": 3})
            expected = {"stream": stream, "expected": 2, "reason": "gap"}
            assert heard(peer) == {"type": "system", "event": "nack", "payload": expected}
            said(peer, {"type": "system", "event": "ack", "payload": {"stream": terms["stream"], "offset": 1}})
            eventually(lambda: len(far.queue("out")) == 0)

        talk(server.url, play)
        assert [message.payload for message in far.queue("in").peek()] == [1]


# -- authentication, threads, and identities ---------------------------------------------------------------------------


def test_nothing_of_the_outbox_leaves_before_authentication(near: SqliteStore, far: SqliteStore) -> None:
    """A hello that names no queue comes first, so that the server does not take this client for a plain one."""
    far.queue("out").put("down")
    near.queue("out").put("up")
    seen: list[int] = []

    def grant(stage: Any, payload: Any) -> tuple[str, Any]:
        seen.append(len(far.queue("in")))
        return "authenticated", {}

    def handler(connection: Connection, request: Request) -> None:
        connection.authenticate = grant

    def authenticate(connection: Connection) -> None:
        assert len(near.queue("in")) == 0
        connection.auth("authenticate", {"token": "x"})

    with (
        serve(handler, inbox=far.queue("in"), outbox=lambda request: far.queue("out")) as server,
        connect(server.url, auth=authenticate, inbox=near.queue("in"), outbox=near.queue("out")) as connection,
    ):
        connection.flush(scaled(5))
        eventually(lambda: len(near.queue("in")) == 1)
        eventually(lambda: len(far.queue("out")) == 0)
    assert seen == [0]
    assert len(far.queue("in")) == 1


def test_only_an_outbox_takes_a_thread(near: SqliteStore, far: SqliteStore) -> None:
    """An inbox works on workers, which end; the drainer ends with its connection."""
    with serve(lambda connection, request: None, inbox=far.queue("in")) as server:
        with connect(server.url, outbox=near.queue("out")) as connection, connect(server.url, inbox=near.queue("in")):
            connection.enqueue(1)
            connection.flush(scaled(5))
            assert threads_named("-outbox") == 1
        eventually(lambda: threads_named("-outbox") == 0)


def test_the_server_says_whose_outbox_a_link_gets(near: SqliteStore, far: SqliteStore) -> None:
    """From who authenticated; another client's messages stay where they are."""
    for name in ("ann", "ben"):
        far.queue(name).put(f"for {name}")

    def outbox_of(request: Request) -> Queue | None:
        return far.queue(request.auth) if request.auth != "carl" else None

    def named(server: Server, name: str) -> str:
        return f"{server.url}?name={name}"

    with serve(
        lambda connection, request: None, authenticate=lambda request: request.query["name"], outbox=outbox_of
    ) as server:
        for name in ("ann", "carl"):
            with connect(named(server, name), inbox=near.queue(name)) as connection:
                connection.ping()
                eventually(lambda name=name: len(near.queue(name)) == (name == "ann"))  # type: ignore[misc]
        assert len(far.queue("ben")) == 1
        eventually(lambda: len(far.queue("ann")) == 0)


@pytest.mark.parametrize("option", ["inbox", "outbox"])
def test_a_wrong_queue_is_refused(option: str) -> None:
    """Before anything is connected."""
    options: Any = {option: "queue.db"}
    with pytest.raises(ValueError, match=option):
        connect("ws://127.0.0.1:1", **options)
    with pytest.raises(ValueError, match=option):
        serve(lambda connection, request: None, **options)


def test_one_queue_cannot_be_both_ends(near: SqliteStore, far: SqliteStore) -> None:
    """What is sent would be what was received; whether it is one object or two, and of a client of a server as well."""
    with SqliteStore(near.path) as again:
        for inbox in (near.queue("both"), again.queue("both")):
            with pytest.raises(ValueError, match="outbox and inbox are one queue, 'both'"):
                connect("ws://127.0.0.1:1", outbox=near.queue("both"), inbox=inbox)
    both = far.queue("both")
    with (
        serve(lambda connection, request: None, inbox=both, outbox=lambda request: both) as server,
        pytest.raises(SocketConnectionError),
    ):
        connect(server.url)


def test_a_worker_cannot_take_what_a_connection_sends(near: SqliteStore, far: SqliteStore) -> None:
    """It would be missing at the peer, and flush would say that all is well."""
    outbox = near.queue("out")
    with serve(lambda connection, request: None, inbox=far.queue("in")) as server:
        with connect(server.url, outbox=outbox) as connection:
            connection.enqueue(1)
            connection.flush(scaled(5))
            for use in (outbox.get, outbox.purge, lambda: list(outbox.messages())):
                with pytest.raises(StoreError, match="outbox of a connection"):
                    use()
        outbox.put(2)
        assert [message.payload for message in outbox.messages(timeout=0)] == [2]
    assert [message.payload for message in far.queue("in").peek()] == [1]


def test_a_flush_that_ends_without_a_link_says_why_there_is_none(near: SqliteStore) -> None:
    """As a call does."""
    with connect("ws://127.0.0.1:1", outbox=near.queue("out"), wait=False) as connection:
        connection.enqueue(1)
        eventually(lambda: connection._core.carrier.last_failure is not None)
        with pytest.raises(
            SocketTimeout, match=r"^1 message was not acknowledged within 0.01 s \(last failure: .*refused"
        ) as caught:
            connection.flush(0.01)
        assert isinstance(caught.value.__cause__, SocketConnectionError)
