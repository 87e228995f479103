"""A chat room: a server with a room, and two clients."""

from __future__ import annotations

from owlsocket_sync import Connection, EventMessage, connect
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.server import Request, serve

ROOM = "owls"

hub = MemoryHub()


def enter(conn: Connection, request: Request) -> None:
    """Put a new client into the room, and register its handlers."""
    name = request.query["name"]
    conn.join(ROOM, {"name": name})

    def say(message: EventMessage) -> None:
        hub.publish("message", {"name": name, "text": message.payload}, room=ROOM)

    conn.observe("say", say)
    conn.perform("who", lambda: [member.info["name"] for member in hub.members(ROOM)])


def main() -> None:
    """Connect two clients and send messages."""
    with (
        serve(enter, hub=hub) as server,
        connect(server.url, query={"name": "Ada"}) as ada,
        connect(server.url, query={"name": "Bob"}) as bob,
    ):
        # Each asks once, so both have entered when the second one has its answer.
        ada.call("who")
        print("in the room:", " and ".join(sorted(bob.call("who"))))
        ada_messages = ada.events("message", timeout=5)
        bob_messages = bob.events("message", timeout=5)
        for speaker, text in ((ada, "Is anybody here?"), (bob, "Only us owls."), (ada, "Then let us talk.")):
            speaker.notify("say", text)
            line = next(ada_messages).payload
            assert line == next(bob_messages).payload
            print(f"{line['name']}: {line['text']}")


if __name__ == "__main__":
    main()
