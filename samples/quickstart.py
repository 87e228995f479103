"""The first steps: a server, a client, calls, events and errors."""

from __future__ import annotations

from owlsocket_sync import Connection, ResilientError, connect
from owlsocket_sync.server import Request, serve


def handler(conn: Connection, request: Request) -> None:
    """Register the methods of the server for one client."""
    conn.on_error(lambda error, context: None)  # the client prints it; without a handler, stderr shows a traceback

    @conn.perform("greet")
    def greet(name: str) -> str:
        conn.notify("greeted", {"name": name})
        return f"Hello, {name}!"

    @conn.perform("divide")
    def divide(a: float, b: float) -> float:
        return a / b


def main() -> None:
    """Start a server, connect to it, and make calls."""
    with serve(handler) as server, connect(server.url) as conn:
        greetings = conn.events("greeted", limit=1, timeout=5)
        print(conn.call("greet", "Ada", timeout=5))
        print("event from the server:", next(greetings).payload)
        print("6 / 3 =", conn.call("divide", 6, 3))
        try:
            conn.call("divide", 1, 0)
        except ResilientError as error:
            print("error from the server:", error)


if __name__ == "__main__":
    main()
