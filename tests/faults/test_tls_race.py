"""Many TLS links, busy in both directions, over a network that jitters: nothing lost, mixed or dropped (row 19)."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from owlsocket_sync import Connection, ConnectionState, Heartbeat, StateChange, connect
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.testing import FaultProxy
from support.figures import Figure
from support.helpers import Collector, eventually, scaled, whole
from support.sockets import client_context, server_context

CALL_EVERY = 20
SEED = 19


class Shape(NamedTuple):
    """How many connections, and how many rounds on each."""

    connections: int
    rounds: int


def value_of(who: str, number: int) -> str:
    """What is sent in a round: as long as the round says, and different from every other."""
    size = random.Random(f"{who}/{number}").choice((1, 20, 300, 300, 2_000, 20_000))
    return hashlib.sha256(f"{who}/{number}".encode()).hexdigest() + "x" * size


class Side(threading.Thread):
    """One end of a connection: sends its rounds, a call now and then, and checks those of the other end."""

    def __init__(self, conn: Connection, who: str, other: str, rounds: int, start: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self._conn = conn
        self._who, self._other = who, other
        self._rounds = rounds
        self._barrier = start
        self._seen = 0
        self.wrong: list[object] = []
        self.drops = Collector()
        self.done = threading.Event()
        conn.on_state(self._note_drop)
        conn.on_error(lambda error, context: self.wrong.append(error))
        conn.perform("echo", lambda value: value)
        conn.observe("round", lambda event: self._check(event.payload))

    def _note_drop(self, change: StateChange) -> None:
        # The server lists a client before its listeners hear of the opening.
        if change.state is not ConnectionState.OPEN:
            self.drops(change)

    def _check(self, payload: list[object]) -> None:
        if payload != [self._seen, value_of(self._other, self._seen)]:
            self.wrong.append(payload)
        self._seen += 1
        if self._seen == self._rounds:
            self.done.set()

    def run(self) -> None:
        """Send everything."""
        try:
            self._barrier.wait(scaled(30))
            for number in range(self._rounds):
                value = value_of(self._who, number)
                self._conn.notify("round", [number, value])
                if number % CALL_EVERY == 0 and self._conn.call("echo", value, timeout=scaled(120)) != value:
                    self.wrong.append(("echo", number))
        except Exception as error:
            self.wrong.append(error)


def _sides(stack: ExitStack, server: Server, url: str, shape: Shape) -> list[Side]:
    """Both ends of every connection, which start together."""
    start = threading.Barrier(2 * shape.connections)
    sides: list[Side] = []
    for number in range(shape.connections):
        known = set(server.connections)
        conn = connect(url, ssl_context=client_context(), heartbeat=Heartbeat(5, 15), timeout=scaled(30))
        stack.enter_context(conn)
        eventually(lambda known=known: set(server.connections) - known)  # type: ignore[misc]
        (peer,) = set(server.connections) - known
        near, far = f"near-{number}", f"far-{number}"
        sides += [Side(conn, near, far, shape.rounds, start), Side(peer, far, near, shape.rounds, start)]
    return sides


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("split", [False, True])
def test_row_19_the_duplex_race(figure: Figure, split: bool) -> None:
    """Every message of every round arrives once, whole and in order, every call is answered, and no link is lost."""
    shape = whole(Shape(4, 30 if split else 100), Shape(20, 200 if split else 2_000))
    with (
        serve(_keep, ssl_context=server_context(), heartbeat=Heartbeat(5, 15), timeout=scaled(30)) as server,
        FaultProxy("127.0.0.1", server.port, secure=True) as proxy,
        ExitStack() as stack,
    ):
        sides = _sides(stack, server, proxy.url(), shape)
        proxy.delay(0.0, jitter=0.003, seed=SEED)
        if split:
            proxy.split(SEED)
        began = time.monotonic()
        for side in sides:
            side.start()
        for side in sides:
            side.join(scaled(900))
            arrived = side.done.wait(scaled(60))
            assert not side.wrong
            assert arrived
        figure("the race took", time.monotonic() - began, scaled(whole(30.0, 900.0)), "s")
        figure("spurious drops", sum(len(side.drops.items) for side in sides), 0, "drops")
        figure("corrupt or reordered messages", sum(len(side.wrong) for side in sides), 0, "messages")
        proxy.clear()


def _keep(conn: Connection, request: Request) -> None:
    """A handler that leaves the connection as it is."""
