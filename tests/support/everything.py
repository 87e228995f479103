"""One scenario with all kinds of code of users, on all kinds of threads: for tests in which some of it misbehaves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from owlsocket_sync import Backoff, Connection, ConnectionState, Instrument, connect
from owlsocket_sync.server import ANONYMOUS, Request, Server, serve
from support.helpers import eventually, scaled

QUICK = Backoff(initial=0.01, factor=1.0, cap=0.01, jitter="none")

Hook = Callable[[str], object]
"""Called with the name of the code of a user's that runs."""


def watch(side: str, hook: Hook) -> Instrument:
    """Return an instrument that calls the hook from each of its methods."""

    def method(name: str) -> Callable[..., None]:
        def call(*_: object) -> None:
            hook(f"{side} instrument {name}")

        return call

    # A class of its own: a method is called only where a class overrides it.
    methods = {name: method(name) for name in dir(Instrument) if name.startswith("on_")}
    watching: Instrument = type("Watch", (Instrument,), methods)()
    return watching


def prepare_end(conn: Connection, side: str, hook: Hook) -> None:
    """Register a handler of each kind."""
    conn.perform("echo", lambda value: (hook(f"{side} perform"), value)[1])
    conn.observe("news", lambda message: hook(f"{side} observe"))
    conn.acknowledge(lambda id, payload: (hook(f"{side} acknowledge"), conn.reply(id, payload), True)[2])
    conn.observe_response(lambda message: hook(f"{side} observe_response"))
    conn.listen(lambda message: hook(f"{side} listen"))
    conn.on_state(lambda change: hook(f"{side} on_state"))
    conn.on_error(lambda error, context: hook(f"{side} on_error"))
    conn.instrument(watch(side, hook))
    conn.authenticate = lambda stage, payload: (hook(f"{side} authenticate"), (stage, payload))[1]
    conn.prepare = lambda message, incoming: (hook(f"{side} prepare"), message)[1]


class Everything:
    """A server and a client with code of users everywhere.

    Args:
        hook: called by each of it.
        tolerated: what may come out of a method, because the hook raised it.
    """

    def __init__(self, hook: Hook, tolerated: tuple[type[BaseException], ...] = ()) -> None:
        self.hook = hook
        # What the hook has kept from happening is not waited for, for long.
        self._patience = scaled(0.3 if tolerated else 5.0)
        self._tolerated: tuple[type[BaseException], ...] = (*tolerated, Exception) if tolerated else ()

    @contextlib.contextmanager
    def _tolerance(self) -> Iterator[None]:
        try:
            yield
        except self._tolerated:
            pass

    def serve(self) -> Server:
        """Return a server whose code is hooked."""

        def handler(conn: Connection, request: Request) -> None:
            prepare_end(conn, "server", self.hook)
            conn.perform("unreadable", lambda: conn.notify("no such handler"))
            self.hook("server handler")

        return serve(handler, authenticate=lambda request: (self.hook("server admission"), ANONYMOUS)[1], name="shop")

    def connect(self, server: Server) -> Connection:
        """Return a client whose code is hooked."""

        def set_up(conn: Connection) -> None:
            prepare_end(conn, "client", self.hook)
            self.hook("client setup")

        return connect(
            lambda: (self.hook("client url"), server.url)[1],
            token=lambda: (self.hook("client token"), "token")[1],
            auth=lambda conn: self.hook("client auth"),
            setup=set_up,
            reconnect=QUICK,
            timeout=2 * self._patience,
            call_timeout=self._patience,
            name="till",
        )

    def use(self, conn: Connection, server: Server) -> None:
        """Use each verb; wait for nothing that the hook may have kept from happening."""
        verbs: list[Callable[[], object]] = [
            lambda: conn.call("echo", 1),
            lambda: conn.notify("news", 2),
            lambda: conn.submit("echo", 3).add_done_callback(lambda _: self.hook("client callback")),
            lambda: next(iter(conn.stream("question", timeout=self._patience))),
            lambda: conn.submit("no such method").exception(self._patience),
            lambda: conn.auth("init", {}, timeout=self._patience),
            lambda: server.broadcast("news", 4),
            lambda: [peer.call("echo", 5, timeout=self._patience) for peer in server.connections],
            lambda: [peer.notify("news", 6) for peer in server.connections],
            lambda: [peer.auth("init", {}, timeout=self._patience) for peer in server.connections],
            lambda: conn.ping(self._patience),
            lambda: conn.wait_idle(self._patience),
            conn.reconnect,
            lambda: conn.wait_open(self._patience),
            lambda: conn.call("echo", 7),
        ]
        for verb in verbs:
            with self._tolerance():
                verb()

    def run(self) -> None:
        """Use a connection, then close it: whatever the hook does, both ends end, and another client is served."""
        with self.serve() as server:
            conn = None
            with self._tolerance():
                conn = self.connect(server)
            if conn is not None:
                try:
                    self.use(conn, server)
                finally:
                    with self._tolerance():
                        conn.close(timeout=scaled(5))
                eventually(lambda: conn.state is ConnectionState.CLOSED, 10)
            hook, self.hook = self.hook, lambda name: None
            with connect(server.url, timeout=scaled(5)) as other:
                assert other.call("echo", 8, timeout=scaled(5)) == 8
            self.hook = hook
            eventually(lambda: not server.connections, 10)


def package_threads() -> list[str]:
    """Return the names of the threads of connections and servers that live."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("till", "shop", "owlsocket"))]
