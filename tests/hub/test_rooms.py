"""Rooms, users and members of one hub, without sockets."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from owlsocket_sync import SocketConnectionError, SocketMessageError, SocketMessageMalformed
from owlsocket_sync.hub import Hub, Member
from owlsocket_sync.hub.rooms import user_of
from owlsocket_sync.hub.values import Publication
from support.helpers import eventually
from support.seats import FakeServer, client_of, received


def test_members_of_a_room_get_its_events(hub: Hub, server: FakeServer) -> None:
    """Those of no other room, and each event once, on each server."""
    other = FakeServer(hub)
    ann, bob, eve = server.connect(), other.connect(), other.connect()
    for seat in (ann, bob):
        seat.join("owls", None)
    eve.join("mice", None)
    hub.publish("tick", 1, room="owls")
    hub.publish("tick", 2, room="mice")
    hub.publish("tick", 3)
    assert received(ann, bob, eve) == [[1, 3], [1, 3], [2, 3]]


def test_a_member_that_left_gets_nothing(hub: Hub, server: FakeServer) -> None:
    """To leave a room that it is not in changes nothing."""
    ann = server.connect()
    ann.join("owls", None)
    ann.join("mice", None)
    assert ann.rooms == ["owls", "mice"]
    for _ in range(2):
        ann.leave("owls")
    hub.publish("tick", 1, room="owls")
    assert received(ann) == [[]]
    assert ann.rooms == ["mice"]
    assert (hub.count("owls"), hub.members("owls")) == (0, [])


def test_members_are_told_with_user_server_and_info(hub: Hub, server: FakeServer) -> None:
    """In the order in which they joined, as JSON, whatever the asking side does to it."""
    ann, bob = server.connect(SimpleNamespace(user_id="u1")), server.connect()
    ann.join("owls", {"name": "Ann", "tags": ("a",)})
    bob.join("owls", None)
    expected = [Member(ann.id, "u1", server.name, {"name": "Ann", "tags": ["a"]}), Member(bob.id, None, server.name)]
    assert hub.members("owls") == expected
    hub.members("owls")[0].info["name"] = "Eve"
    assert hub.members("owls") == expected
    assert hub.count("owls") == 2


def test_to_join_again_replaces_the_info(hub: Hub, server: FakeServer) -> None:
    """It stays one member."""
    ann = server.connect()
    ann.join("owls", 1)
    ann.join("owls", 2)
    assert [member.info for member in hub.members("owls")] == [2]
    hub.publish("tick", 1, room="owls")
    assert received(ann) == [[1]]


def test_an_info_must_be_json(hub: Hub, server: FakeServer) -> None:
    """Dataclasses are, as everywhere; a connection whose info is not does not join."""

    @dataclass
    class Info:
        name: str

    ann = server.connect()
    with pytest.raises(SocketMessageMalformed, match="info cannot be stored as JSON"):
        ann.join("owls", object())
    assert (ann.rooms, hub.count("owls")) == ([], 0)
    ann.join("owls", Info("Ann"))
    assert hub.members("owls")[0].info == {"name": "Ann"}


@pytest.mark.parametrize(("room", "error"), [(5, TypeError), (None, TypeError), ("", ValueError)])
def test_a_room_has_a_name(hub: Hub, server: FakeServer, room: Any, error: type[Exception]) -> None:
    """Everywhere."""
    ann = server.connect()
    for use in (lambda: ann.join(room, None), lambda: ann.leave(room), lambda: hub.members(room)):
        with pytest.raises(error, match="name of a room"):
            use()
    with pytest.raises(error, match="name of a room"):
        hub.count(room)


def test_excluded_connections_get_nothing(hub: Hub, server: FakeServer) -> None:
    """In a room, and among all; an unknown id excludes none."""
    ann, bob = server.connect(), server.connect()
    for seat in (ann, bob):
        seat.join("owls", None)
    hub.publish("tick", 1, room="owls", exclude=[ann.id, "x-y"])
    hub.publish("tick", 2, exclude=(id for id in [bob.id]))
    assert received(ann, bob) == [[2], [1]]
    with pytest.raises(TypeError, match="named by its id"):
        hub.publish("tick", 3, exclude=[5])  # type: ignore[list-item]


def test_one_connection_is_excluded_by_any_of_its_names(hub: Hub, server: FakeServer) -> None:
    """Without a list around it: an id is no list of characters."""
    ann, bob = server.connect(), server.connect()
    ann.join("owls", None)
    hub.publish("tick", 1, exclude=ann.id)
    hub.publish("tick", 2, exclude=hub.members("owls")[0])
    hub.send("tick", 3, to=hub.members("owls")[0])
    assert received(ann, bob) == [[3], [1, 2]]
    with pytest.raises(TypeError, match="not by a value of type int"):
        hub.publish("tick", 4, exclude=5)  # type: ignore[arg-type]


def test_a_name_that_is_no_id_is_told_apart_from_a_connection_that_ended(hub: Hub, server: FakeServer) -> None:
    """Whoever passes the name of a user looks for the mistake in the right place."""
    ann = server.connect("ann")
    with pytest.raises(SocketConnectionError, match=r"no connection 'ann': an id is what `Connection.id`"):
        hub.send("tick", to="ann")
    ann.end()
    with pytest.raises(SocketConnectionError, match="it has ended, or its server has"):
        hub.send("tick", to=ann.id)


def test_a_connection_that_ended_has_left_once(hub: Hub, server: FakeServer) -> None:
    """It joins no more, and is not found."""
    ann = server.connect("u1")
    ann.join("owls", None)
    for _ in range(2):
        ann.end()
    assert (ann.rooms, hub.count("owls")) == ([], 0)
    with pytest.raises(SocketConnectionError, match="is closed"):
        ann.join("owls", None)
    for use in (lambda: hub.send("tick", to=ann.id), lambda: hub.call(ann.id, "x"), lambda: hub.disconnect(ann.id)):
        with pytest.raises(SocketConnectionError, match=ann.id) as caught:
            use()
        assert caught.value.code == "CONNECTION_LOST"
        assert not caught.value.retryable
    hub.send("tick", user="u1")
    hub.publish("tick", room="owls")
    received(server.connect())
    assert client_of(ann).got == []
    table = hub.table
    assert (table.seats, table._rooms, table._users) == ({}, {}, {})


def test_an_id_is_made_when_it_is_asked_for(hub: Hub, server: FakeServer) -> None:
    """It is another one for each connection, and names the node."""
    ann, bob = server.connect(), server.connect()
    assert hub.table.seats == {}
    assert len({ann.id, bob.id, ann.id}) == 2
    assert all(seat.id.startswith(f"{hub.node}-") for seat in (ann, bob))


def test_send_reaches_one_connection_or_one_user(hub: Hub, server: FakeServer) -> None:
    """All connections of the user, whatever server has them."""
    other = FakeServer(hub)
    ann, again, bob = server.connect("ann"), other.connect({"id": "ann"}), server.connect("bob")
    hub.send("note", 1, to=bob.id)
    hub.send("note", 2, user="ann")
    hub.send("note", 3, user=SimpleNamespace(user_id="bob"))
    hub.send("note", 4, user="nobody here")
    assert received(ann, again, bob) == [[2], [2], [1, 3]]
    for options in ({}, {"to": bob.id, "user": "bob"}):
        with pytest.raises(ValueError, match="either to= or user="):
            hub.send("note", **options)
    with pytest.raises(ValueError, match="name of a user"):
        hub.send("note", user=object())


def test_a_user_follows_the_identity(hub: Hub, server: FakeServer) -> None:
    """A client may authenticate on its link, and again."""
    ann = server.connect()
    for number, user in enumerate(("u1", "u2")):
        ann.set_identity(user)
        hub.send("note", number, user=user)
        assert received(ann)[0][-1] == number
    hub.send("note", 9, user="u1")
    assert received(ann) == [[0, 1]]


@pytest.mark.parametrize(
    ("identity", "user"),
    [
        ("ann", "ann"),
        (7, "7"),
        (True, None),
        (None, None),
        (object(), None),
        ({"user_id": "a", "id": "b"}, "a"),
        ({"id": 5}, "5"),
        (SimpleNamespace(id=5), "5"),
        (SimpleNamespace(id=object()), None),
    ],
)
def test_the_user_of_an_identity(identity: Any, user: str | None) -> None:
    """Whatever the authentication of a server returns."""
    assert user_of(identity) == user


def test_a_hook_gets_a_payload_of_its_own(hub: Hub, server: FakeServer) -> None:
    """Its error is reported to its client, and the others get the event."""
    clients = [client_of(server.connect()) for _ in range(3)]

    def change(message: Any, is_request: bool) -> Any:
        message.payload["n"] += 1
        return message

    def fail(message: Any, is_request: bool) -> Any:
        raise ValueError("no")

    clients[0].settings.prepare, clients[1].settings.prepare = change, fail
    hub.publish("tick", {"n": 1})
    eventually(lambda: clients[2].got)
    assert [client.got for client in clients] == [[{"n": 2}], [], [{"n": 1}]]
    assert [str(error) for error in clients[1].errors] == ["no"]


def test_a_client_that_allows_less_is_told(hub: Hub, server: FakeServer) -> None:
    """Its server has a lower limit than the one that published."""
    server.message_size = 10
    hub.table.servers[server.name] = hub.table.servers[server.name]._replace(message_size=10)
    hub.table._set_servers(dict(hub.table.servers))
    small, large = (client_of(server.connect()) for _ in range(2))
    small.message_size = 10
    hub.publish("tick", "x" * 50)
    eventually(lambda: large.got)
    assert (small.got, large.got) == ([], ["x" * 50])
    assert isinstance(small.errors[0], SocketMessageError)


def test_a_closed_hub_refuses_and_says_so(server: FakeServer) -> None:
    """Connections go on, without rooms."""
    hub = server.hub
    ann = server.connect()
    ann.join("owls", None)
    hub.close()
    hub.close()
    for use in (lambda: hub.publish("x"), lambda: hub.members("owls"), hub.servers, lambda: ann.join("mice", None)):
        with pytest.raises(SocketConnectionError, match="the hub is closed"):
            use()
    assert ann.rooms == []
    ann.leave("owls")
    ann.end()
    assert "closed" in repr(hub)


def test_servers_have_names_of_their_own(hub: Hub) -> None:
    """Also two of the same name."""
    names = [FakeServer(hub, "chat").name, FakeServer(hub, "chat").name]
    assert names == [f"chat@{hub.node}", f"chat-2@{hub.node}"]
    assert sorted(hub.servers()) == sorted(names)
    hub.detach(names[0])
    hub.detach(names[0])
    assert hub.servers() == names[1:]


def test_a_payload_must_be_json(hub: Hub) -> None:
    """Without any client, too; and the event a text."""
    with pytest.raises(SocketMessageMalformed):
        hub.publish("tick", object())
    with pytest.raises(TypeError, match="event must be text"):
        hub.publish(5)  # type: ignore[arg-type]


def test_a_publication_survives_its_record() -> None:
    """And nothing else is taken for one."""
    made = Publication("tick", b'{"event":"tick","payload":[1,"\\n"],"type":"event"}', "owls", None, ["a-1"], None)
    read = Publication.from_record(made.to_record())
    assert (read.event, read.text, read.room, read.user, read.exclude) == ("tick", made.text, "owls", None, ["a-1"])
    assert read.payload() == [1, "\n"]
    header, text = made.to_record().split(b"\n")
    broken = [b"", header, text, header + b"\n", header + b"\n{}", header + b"\n[1]", b"{}\n" + text, b"\xff\n\xff"]
    broken += [header.replace(b'"owls"', b"5") + b"\n" + text, header.replace(b'"tick"', b'"tock"') + b"\n" + text]
    broken += [header.replace(b'["a-1"]', b"[[]]") + b"\n" + text]
    for record in broken:
        with pytest.raises(SocketMessageMalformed):
            Publication.from_record(record)


def test_a_hub_needs_no_server() -> None:
    """Nor the package that servers need: a job publishes without it."""
    code = "import sys; sys.modules['websockets'] = None; from owlsocket_sync import hub; hub.MemoryHub().publish('n')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
