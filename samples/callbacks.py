"""Calls in both directions: the server calls the client while it handles the client's call."""

from __future__ import annotations

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve


def handler(conn: Connection, request: Request) -> None:
    """Ask the client for confirmation before each sale."""

    @conn.perform("buy")
    def buy(item: str, price: int) -> str:
        if not conn.call("confirm", f"{item} for {price}?", timeout=5):
            return "Another time, then."
        conn.enqueue({"bill": price}, id=f"bill-{item}")
        return f"Here is your {item}."


def main() -> None:
    """Buy two items; the client confirms only cheap ones."""
    with serve(handler) as server, connect(server.url) as conn:
        # Handlers run on worker threads, so a handler may call the peer, to any depth.
        @conn.perform("confirm")
        def confirm(question: str) -> bool:
            confirmed = int(question.split()[-1].rstrip("?")) < 100
            print(f"  the shop asks: {question} - {'yes' if confirmed else 'no'}")
            return confirmed

        print(conn.call("buy", "lantern", 15))
        print(conn.call("buy", "castle", 1_000_000))
        print("in the queue:", conn.consume(timeout=5))


if __name__ == "__main__":
    main()
