"""Rooms and calls over real links: what a server's connection and its hub promise together."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import (
    Connection,
    Limits,
    SocketConnectionError,
    SocketError,
    SocketMessageError,
    SocketMessageMalformed,
    SocketUnsupported,
    connect,
)
from owlsocket_sync.hub import Hub, MemoryHub
from owlsocket_sync.server import Request, ServerOptions, serve
from support.helpers import Collector, eventually, scaled
from support.linked import aside
from support.sockets import knock


class Lobby:
    """A handler that puts each client into a room, and keeps the connections by name."""

    def __init__(self) -> None:
        self.conns: dict[str, Connection] = {}

    def __call__(self, conn: Connection, request: Request) -> None:
        name = request.query.get("name", "")
        conn.join("lobby", {"name": name})
        conn.perform("id", lambda: conn.id)
        self.conns[name] = conn


@pytest.fixture
def lobby() -> Lobby:
    """The handler."""
    return Lobby()


def test_two_servers_are_one_hub(hub: Hub, lobby: Lobby) -> None:
    """Events, calls and members reach over both; the clients of each are there once."""
    with (
        serve(lobby, hub=hub, name="first") as first,
        serve(lobby, hub=hub, name="second") as second,
        connect(first.url, query={"name": "ann"}) as ann,
        connect(second.url, query={"name": "bob"}) as bob,
    ):
        assert {ann.call("id"), bob.call("id")} == {member.id for member in hub.members("lobby")}
        assert sorted(member.server for member in hub.members("lobby")) == sorted(hub.servers())
        ann.perform("add", lambda a, b: a + b)
        bob.perform("add", lambda a, b: [a, b])
        seen = {name: Collector() for name in lobby.conns}
        for name, conn in (("ann", ann), ("bob", bob)):
            conn.observe("news", seen[name])
        first.broadcast("news", 1)
        second.broadcast("news", 2, room="lobby", exclude=[lobby.conns["ann"]])
        hub.publish("news", 3, room="lobby")
        hub.send("news", 4, to=lobby.conns["bob"].id)
        first.broadcast("news", 5, room="nowhere")
        first.broadcast("news", 6)
        assert [message.payload for message in seen["ann"].wait(3)] == [1, 3, 6]
        payloads = [message.payload for message in seen["bob"].wait(5)]
        payloads.remove(4)  # for one connection: it is in no order with what is for many
        assert payloads == [1, 2, 3, 6]
        assert hub.call(lobby.conns["bob"], "add", 1, 2) == [1, 2]
        outcomes = hub.call_all("lobby", "add", 1, 2)
        assert [outcomes[lobby.conns[name].id].result for name in ("ann", "bob")] == [3, [1, 2]]
        assert all(0 < outcome.seconds < scaled(5) for outcome in outcomes.values())
    assert hub.servers() == []
    assert hub.members("lobby") == []
    hub.publish("news", 7)


def test_a_server_without_the_option_has_a_hub_of_its_own(lobby: Lobby) -> None:
    """Which is closed with it; a broadcast after that reaches none, as ever."""
    with serve(lobby) as server, serve(lobby) as other, connect(server.url, query={"name": "ann"}) as ann:
        assert ann.call("id") == server.hub.members("lobby")[0].id
        assert other.hub.count("lobby") == 0
    server.broadcast("news", 1)
    with pytest.raises(SocketConnectionError, match="the hub is closed"):
        server.hub.publish("news")


def test_a_client_has_no_rooms(lobby: Lobby) -> None:
    """Its server decides about them."""
    with serve(lobby) as server, connect(server.url) as conn:
        for use in (lambda: conn.id, lambda: conn.rooms, lambda: conn.join("lobby"), lambda: conn.leave("lobby")):
            with pytest.raises(SocketUnsupported, match="only the connections of a server"):
                use()


def test_rooms_end_with_the_connection(hub: Hub, lobby: Lobby) -> None:
    """However it ends; its id is told still, and its leave once."""
    seen = Collector()
    hub.on_presence(lambda change: seen(change.kind, change.member.info["name"]))
    with serve(lobby, hub=hub) as server:
        with connect(server.url, query={"name": "ann"}) as ann:
            assert ann.call("id")
        peer, _ = knock(server.port)
        eventually(lambda: "" in lobby.conns)
        peer.sock.close()
        assert sorted(seen.wait(4)) == [("join", ""), ("join", "ann"), ("leave", ""), ("leave", "ann")]
        conn = lobby.conns["ann"]
        assert conn.id.startswith(hub.node)
        assert conn.rooms == []
        with pytest.raises(SocketConnectionError, match="is closed"):
            conn.join("lobby")
    assert len(seen.items) == 4
    assert hub.table.seats == {}


def test_the_user_is_who_has_authenticated(hub: Hub, lobby: Lobby) -> None:
    """All links of a user get what is sent to the user."""
    with (
        serve(lobby, hub=hub, authenticate=lambda request: {"id": request.query["name"][:3]}) as server,
        connect(server.url, query={"name": "ann-1"}) as first,
        connect(server.url, query={"name": "ann-2"}) as second,
        connect(server.url, query={"name": "bob-1"}) as other,
    ):
        conns = (first, second, other)
        for conn in conns:
            conn.call("id")
        assert sorted(str(member.user) for member in hub.members("lobby")) == ["ann", "ann", "bob"]
        streams = [conn.events("note", timeout=scaled(5)) for conn in conns]
        hub.send("note", 1, user="ann")
        hub.send("note", 2, user="bob")
        assert [next(stream).payload for stream in streams] == [1, 1, 2]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_handler_may_call_its_own_client(hub: Hub, workers: int) -> None:
    """Alone and with all others, and that client may call back, to any depth."""

    def handle(conn: Connection, request: Request) -> None:
        conn.join("lobby")
        conn.perform("one", lambda depth: hub.call(conn, "step", "one", depth))
        conn.perform("all", lambda depth: hub.call_all("lobby", "step", "all", depth)[conn.id].result)

    with serve(handle, hub=hub, workers=workers) as server, connect(server.url, workers=workers) as conn:
        conn.perform("step", lambda way, depth: conn.call(way, depth - 1) if depth else "bottom")
        for way in ("one", "all"):
            assert conn.call(way, 5, timeout=scaled(10)) == "bottom"


def test_a_handler_calls_all_before_it_has_returned(hub: Hub) -> None:
    """The link of its client is read from then on."""
    results = Collector()

    def handle(conn: Connection, request: Request) -> None:
        conn.join("lobby")
        results(hub.call_all("lobby", "who", timeout=scaled(5))[conn.id].result)

    def answer(conn: Connection) -> None:
        conn.perform("who", lambda: "ann")

    with serve(handle, hub=hub) as server, connect(server.url, setup=answer):
        assert results.wait(1) == ["ann"]


def test_row_b5_a_client_that_reads_nothing_holds_up_no_other(hub: Hub, lobby: Lobby) -> None:
    """Neither calls nor events nor presence wait for it; its call is told as a timeout."""
    with serve(lobby, hub=hub, limits=Limits(dispatch_messages=50)) as server, ExitStack() as stack:
        deaf, _ = knock(server.port)
        stack.callback(deaf.sock.close)
        ann = stack.enter_context(connect(server.url, query={"name": "ann"}))
        ann.call("id")
        ann.perform("who", lambda: "ann")
        eventually(lambda: "" in lobby.conns)
        slow = lobby.conns[""]
        while not slow.stats.dropped:
            hub.send("fill", "x" * 500_000, to=slow)
        with ann.events("news", timeout=scaled(5)) as events:
            hub.publish("news", 1, room="lobby")
            assert next(events).payload == 1
        outcomes = hub.call_all("lobby", "who", timeout=scaled(0.5))
        assert outcomes[lobby.conns["ann"].id].result == "ann"
        assert outcomes[slow.id].status in ("timeout", "error")
        assert slow.id in outcomes


def test_a_queue_that_is_full_fails_the_call_at_once(hub: Hub, lobby: Lobby) -> None:
    """Long before its timeout, and with the reason."""
    with serve(lobby, hub=hub, limits=Limits(dispatch_messages=2)) as server:
        deaf, _ = knock(server.port)
        eventually(lambda: "" in lobby.conns)
        slow = lobby.conns[""]
        while not slow.stats.dropped:
            hub.send("fill", "x" * 500_000, to=slow)
        outcome = hub.call_all("lobby", "who", timeout=60)[slow.id]
        assert (outcome.status, type(outcome.error)) == ("error", SocketError)
        assert "its queue is full" in str(outcome.error)
        assert slow.stats.pending == 0
        deaf.sock.close()


def test_a_client_that_goes_fails_its_calls_alone(hub: Hub, lobby: Lobby) -> None:
    """Its outcome is that it was lost."""
    with serve(lobby, hub=hub) as server, connect(server.url, query={"name": "ann"}) as ann:
        peer, _ = knock(server.port)
        eventually(lambda: len(lobby.conns) == 2)
        ann.perform("who", lambda: "ann")
        calling = aside(partial(hub.call_all, "lobby", "who", timeout=60))
        gone = lobby.conns[""]
        eventually(lambda: gone.stats.pending)
        peer.sock.close()
        (outcomes,) = calling.wait(1)
        assert {id: outcome.status for id, outcome in outcomes.items()} == {
            gone.id: "lost",
            lobby.conns["ann"].id: "ok",
        }


def test_a_timeout_is_told_in_time(hub: Hub, lobby: Lobby) -> None:
    """Also while nothing comes from the client."""
    with serve(lobby, hub=hub) as server:
        peer, _ = knock(server.port)
        eventually(lambda: "" in lobby.conns)
        (outcome,) = hub.call_all("lobby", "who", timeout=0.05).values()
        assert outcome.status == "timeout"
        assert 0.04 < outcome.seconds < scaled(5)
        assert lobby.conns[""].stats.pending == 0
        peer.sock.close()


def test_a_connection_is_closed_by_the_hub(hub: Hub, lobby: Lobby) -> None:
    """With code and reason."""
    with serve(lobby, hub=hub) as server, connect(server.url, query={"name": "ann"}, reconnect=None) as ann:
        ann.call("id")
        hub.disconnect(lobby.conns["ann"], 4001, "out")
        info = ann.wait_closed(scaled(5))
        assert (info.code, info.reason) == (4001, "out")
        eventually(lambda: hub.count("lobby") == 0, 10)


def test_a_client_that_does_not_answer_the_close_is_aborted(lobby: Lobby) -> None:
    """By the process that has its link, after the timeout of `close`; whichever bus carries the hub."""
    with MemoryHub() as hub, serve(lobby, hub=hub) as server:
        deaf, _ = knock(server.port)
        eventually(lambda: "" in lobby.conns)
        hub.disconnect(lobby.conns[""].id)
        eventually(lambda: hub.count("lobby") == 0, 10)
        deaf.sock.close()


def test_a_broadcast_is_checked_before_it_is_sent(lobby: Lobby) -> None:
    """Without any client, too."""
    with serve(lobby, limits=Limits(message_size=200, json_depth=5)) as server:
        with pytest.raises(SocketMessageError, match=r"larger than 200 \(Limits.message_size\)"):
            server.broadcast("news", "x" * 300)
        with pytest.raises(SocketMessageMalformed, match="nested deeper"):
            server.broadcast("news", [[[[[[1]]]]]])
        with pytest.raises(TypeError, match="name of a room"):
            server.broadcast("news", room=5)  # type: ignore[arg-type]


def test_the_option_is_checked(lobby: Lobby) -> None:
    """A class, or a URL, is no hub."""
    for value in (MemoryHub, "redis://localhost", 5):
        with pytest.raises(ValueError, match="hub must be"):
            ServerOptions(hub=value)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="hub must be"):
            serve(lobby, hub=value)  # type: ignore[arg-type]


def test_a_port_that_is_taken_leaves_no_server_in_the_hub(hub: Hub, lobby: Lobby) -> None:
    """The hub names only those that serve."""
    with serve(lobby, hub=hub) as server:
        with pytest.raises(OSError, match="in use"):
            serve(lobby, port=server.port, hub=hub)
        assert len(hub.servers()) == 1


def test_a_hook_may_use_the_hub(hub: Hub, lobby: Lobby) -> None:
    """It runs during a delivery, of which no lock is held: another thread publishes meanwhile."""
    with serve(lobby, hub=hub) as server, connect(server.url, query={"name": "ann"}) as ann:
        ann.call("id")
        published = threading.Event()

        def prepare(message: Any, is_request: bool) -> Any:
            if not is_request and getattr(message, "event", None) == "news":
                assert len(hub.members("lobby")) == 1
                aside(lambda: (hub.publish("other", 2), published.set()))
                assert published.wait(scaled(10))
            return message

        seen = Collector()
        ann.observe("*", seen)
        lobby.conns["ann"].prepare = prepare
        hub.publish("news", 1)
        assert sorted(message.payload for message in seen.wait(2)) == [1, 2]
