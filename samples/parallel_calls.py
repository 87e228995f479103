"""Many calls at once, over one connection: futures, batches, one deadline over all."""

from __future__ import annotations

import time
from concurrent.futures import as_completed, wait

from owlsocket_sync import Connection, SocketTimeout, connect
from owlsocket_sync.server import Request, serve


def handler(conn: Connection, request: Request) -> None:
    """Work that takes a while."""

    @conn.perform("square")
    def square(number: int) -> int:
        time.sleep(0.05)
        return number * number


def main() -> None:
    """Call twelve times, which takes as long as once."""
    with serve(handler, workers=12) as server, connect(server.url) as conn:
        futures = {conn.submit("square", number): number for number in range(12)}
        squares = {futures[future]: future.result() for future in as_completed(futures, timeout=5)}
        print("in the order asked:", [squares[number] for number in range(12)])

        with conn.batch():  # the calls inside leave in one write
            futures = {conn.submit("square", number): number for number in range(4)}
        done, pending = wait(futures, timeout=5)
        print("answered:", len(done), "pending:", len(pending))

        try:
            with conn.deadline(0.12):  # one deadline over all calls inside
                for number in range(100):
                    conn.call("square", number)
        except SocketTimeout:
            print("out of time, as it should be")


if __name__ == "__main__":
    main()
