"""A chat room: a server that broadcasts messages, and two clients."""

from __future__ import annotations

from owlsocket_sync import Connection, EventMessage, connect
from owlsocket_sync.server import Request, Server, serve


class Room:
    """Broadcasts each message to all clients."""

    server: Server

    def enter(self, conn: Connection, request: Request) -> None:
        """Register the handlers of a new client."""
        name = request.query["name"]

        def say(message: EventMessage) -> None:
            self.server.broadcast("message", {"name": name, "text": message.payload})

        conn.observe("say", say)
        conn.perform("who", lambda: name)


def main() -> None:
    """Connect two clients and send messages."""
    room = Room()
    with serve(room.enter) as room.server:
        url = room.server.url
        with connect(url, query={"name": "Ada"}) as ada, connect(url, query={"name": "Bob"}) as bob:
            print("in the room:", ada.call("who"), "and", bob.call("who"))
            ada_messages = ada.events("message", timeout=5)
            bob_messages = bob.events("message", timeout=5)
            for speaker, text in ((ada, "Is anybody here?"), (bob, "Only us owls."), (ada, "Then let us talk.")):
                speaker.notify("say", text)
                line = next(ada_messages).payload
                assert line == next(bob_messages).payload
                print(f"{line['name']}: {line['text']}")


if __name__ == "__main__":
    main()
