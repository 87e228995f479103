"""Both ends are equal: the server calls the client, while it answers the client's call."""

from __future__ import annotations

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve


def handler(conn: Connection, request: Request) -> None:
    """A shop that asks back before it sells."""

    @conn.perform("buy")
    def buy(item: str, price: int) -> str:
        if not conn.call("confirm", f"{item} for {price}?", timeout=5):
            return "Another time, then."
        conn.enqueue({"bill": price}, id=f"bill-{item}")
        return f"Here is your {item}."


def main() -> None:
    """Buy what is cheap enough."""
    with serve(handler) as server, connect(server.url) as conn:
        # Handlers run on workers, so they may call too, however deep.
        @conn.perform("confirm")
        def confirm(question: str) -> bool:
            answer = int(question.split()[-1].rstrip("?")) < 100
            print(f"  the shop asks: {question} - {'yes' if answer else 'no'}")
            return answer

        print(conn.call("buy", "lantern", 15))
        print(conn.call("buy", "castle", 1_000_000))
        print("in our queue:", conn.consume(timeout=5))


if __name__ == "__main__":
    main()
