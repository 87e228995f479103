"""Connections in a hub without sockets: clients that keep what they are sent, and answer calls at once or never."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from owlsocket_sync.connection import Connection
from owlsocket_sync.core.deferred_calls import TimedFuture
from owlsocket_sync.errors import SocketTimeout
from owlsocket_sync.hub import Hub, Outcome
from owlsocket_sync.hub.seat import HubServer, Seat
from owlsocket_sync.protocol.hooks import status_of
from owlsocket_sync.protocol.messages import EventMessage, Message
from owlsocket_sync.protocol.settings import Settings
from support.helpers import eventually

FENCE = "fence"


class FakeFuture(Future[Any]):
    """A call of a fake client."""

    def outcome(self) -> Outcome:
        """As `TimedFuture.outcome`."""
        error = self.exception() if self.done() else SocketTimeout("the fake client does not answer")
        return Outcome(status_of(error), 0.0, error, None if error else self.result())


class FakeClient:
    """The client of a seat, and its outlet.

    Attributes:
        got: the payloads of the events, in order.
        on_send: called for each event before it is kept.
        perform: answers calls; ``None`` for never.
        closed: the codes with which it was closed.
    """

    compression: Any = None
    is_open = True
    message_size = 1_000_000

    def __init__(self) -> None:
        self.settings = Settings(60.0)
        self.connection = cast(Connection, self)
        self.got: list[Any] = []
        self.fences: list[Any] = []
        self.errors: list[Exception] = []
        self.closed: list[int] = []
        self.on_send: Callable[[Any], object] | None = None
        self.perform: Callable[..., Any] | None = None
        self.on_close: Callable[[], object] | None = None
        self.blocks = 0

    # -- as an outlet ------------------------------------------------------------------------------------------------

    def encode(self, message: Message) -> bytes:
        """Return the text of an event, as the hook leaves it."""
        assert self.settings.prepare is not None
        prepared = self.settings.prepare(message, False)
        return json.dumps({"event": cast(EventMessage, prepared).event, "payload": prepared.payload}).encode()

    def frame(self, data: bytes) -> tuple[bytes, int]:
        """Return the text itself."""
        return data, len(data)

    def send(self, frame: bytes, size: int) -> bool:
        """Keep the payload."""
        message = json.loads(frame)
        payload = message["payload"]
        if message["event"] == FENCE:
            self.fences.append(payload)
            return True
        if self.on_send is not None:
            self.on_send(payload)
        self.got.append(payload)
        return True

    def report(self, error: Exception, event: str) -> None:
        """Keep the error."""
        self.errors.append(error)

    # -- as a client -------------------------------------------------------------------------------------------------

    def call(self, method: str, *payload: Any, timeout: float | None = None) -> Any:
        """Answer a call."""
        return self.submit_now(method, payload, timeout).result(5)

    def submit_now(
        self, method: str, payload: tuple[Any, ...], timeout: float | None, extra: dict[str, str] | None = None
    ) -> TimedFuture:
        """Answer a call, or leave it."""
        future = FakeFuture()
        if self.perform is not None:
            try:
                future.set_result(self.perform(method, *payload))
            except Exception as error:
                future.set_exception(error)
        return cast(TimedFuture, future)

    def managed_block(self) -> AbstractContextManager[None]:
        """Count the waits."""
        self.blocks += 1
        return nullcontext()

    def begin_closing(self, code: int, reason: str) -> None:
        """Keep the code."""
        self.closed.append(code)

    def close(self, code: int, reason: str) -> None:
        """Wait for the end, if the test has it wait."""
        if self.on_close is not None:
            self.on_close()


class FakeServer:
    """A server of a hub with fake clients."""

    def __init__(self, hub: Hub, name: str = "server") -> None:
        self.hub = hub
        self.clients: list[FakeClient] = []
        self.message_size = FakeClient.message_size
        self.name = hub.attach(HubServer(name, self.message_size, self.clients.copy))

    def connect(self, identity: Any = None) -> Seat:
        """Return the seat of another client."""
        client = FakeClient()
        self.clients.append(client)
        seat = Seat(self.hub, self.name, client, client)
        seat.set_identity(identity)
        return seat


def client_of(seat: Seat) -> FakeClient:
    """Return the fake client of a seat."""
    return cast(FakeClient, seat.client)


def received(*seats: Seat) -> list[list[Any]]:
    """Return what the clients have got, once all of them have all that was published before."""
    fence = secrets.token_hex(8)
    seats[0]._hub.publish(FENCE, fence)  # type: ignore[attr-defined]
    eventually(lambda: all(fence in client_of(seat).fences for seat in seats))
    return [list(client_of(seat).got) for seat in seats]


def run_together(*functions: Callable[[], object]) -> None:
    """Run functions in threads that start at once; raise the first error."""
    start, errors = threading.Barrier(len(functions)), list[BaseException]()

    def run(function: Callable[[], object]) -> None:
        start.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
