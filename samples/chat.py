"""A chat room: a server that passes on what one client says, and two clients."""

from __future__ import annotations

from owlsocket_sync import Connection, EventMessage, connect
from owlsocket_sync.server import Request, Server, serve


class Room:
    """Passes on to everybody what anybody says."""

    server: Server

    def enter(self, conn: Connection, request: Request) -> None:
        """Called for each client that connects."""
        name = request.query["name"]

        def say(message: EventMessage) -> None:
            self.server.broadcast("said", {"name": name, "text": message.payload})

        conn.observe("say", say)
        conn.perform("who", lambda: name)


def main() -> None:
    """Let two people talk."""
    room = Room()
    with serve(room.enter) as room.server:
        url = room.server.url
        with connect(url, query={"name": "Ada"}) as ada, connect(url, query={"name": "Bob"}) as bob:
            print("in the room:", ada.call("who"), "and", bob.call("who"))
            heard_by_ada = ada.events("said", timeout=5)
            heard_by_bob = bob.events("said", timeout=5)
            for speaker, text in ((ada, "Is anybody here?"), (bob, "Only us owls."), (ada, "Then let us talk.")):
                speaker.notify("say", text)
                line = next(heard_by_ada).payload
                assert line == next(heard_by_bob).payload
                print(f"{line['name']}: {line['text']}")


if __name__ == "__main__":
    main()
