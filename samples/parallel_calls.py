"""Many calls at once over one connection: in order, in a batch, and with one deadline for several calls."""

from __future__ import annotations

import time
from concurrent.futures import wait

from owlsocket_sync import Connection, SocketTimeout, connect
from owlsocket_sync.server import Request, serve


def handler(conn: Connection, request: Request) -> None:
    """Register a slow method."""

    @conn.perform("square")
    def square(number: int) -> int:
        time.sleep(0.05)
        return number * number


def main() -> None:
    """Make twelve calls in the time of one."""
    with serve(handler, workers=12) as server, connect(server.url) as conn:
        print("in call order:", list(conn.map("square", range(12), timeout=5)))

        with conn.batch():  # sends all calls in one write
            futures = [conn.submit("square", number) for number in range(4)]
        done, pending = wait(futures, timeout=5)
        print("done:", len(done), "pending:", len(pending))

        try:
            with conn.deadline(0.12):  # one deadline for all calls in the block
                for number in range(100):
                    conn.call("square", number)
        except SocketTimeout:
            print("timed out, as expected")


if __name__ == "__main__":
    main()
