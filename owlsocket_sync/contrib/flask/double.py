"""What tests talk to in place of a server: the other end of a connection in memory, which keeps what it was told.

What cannot be sent as JSON, an unknown method, a handler that raises, a link that is lost and an answer that does not
come end as they do on a socket.
"""

from __future__ import annotations

import json
from itertools import chain, repeat
from typing import Any, NamedTuple, cast

from ...connection import Connection
from ...stages import Ending
from ...testing.pair import MemoryCarrier, pair
from .services import AppState

NEEDED = ("call_timeout", "limits", "sender", "name")


class Call(NamedTuple):
    """A call that was made: its method and its arguments."""

    method: str
    arguments: tuple[Any, ...]


class Event(NamedTuple):
    """An event that was sent: its name and its payload."""

    name: str
    payload: Any


class Double:
    """A peer in memory; what is asked of it is answered at once, on the thread that asks. A context manager.

    ::

        double.answer("getUser", {"id": 7})
        assert client.get("/users/7").json == {"id": 7}
        assert double.calls == [("getUser", (7,))]

    Args:
        name: of the app's connection.
        options: the other ones of `owlsocket_sync.testing.pair`.

    Attributes:
        connection: the app's end.
        peer: the other end, a whole `Connection`, for whatever has no word here: ``double.peer.stream(…)``.
        calls: the calls of the app, in order, those that nobody answers included.
        events: the events that it sent, in order.
        requests: the payloads of the requests that it made.
        enqueued: the payloads that it put on the queue.
    """

    def __init__(self, name: str = "double", **options: Any) -> None:
        self.connection, self.peer = pair(name=name, **options)
        self.calls: list[Call] = []
        self.events: list[Event] = []
        self.requests: list[Any] = []
        self.enqueued: list[Any] = []
        self._silent: set[str] = set()
        self._refusal: BaseException | None = None
        self._carrier = cast(MemoryCarrier, self.connection._carrier)
        self._carrier.passes = self._note
        self.peer.on_error(lambda error, context: None)  # the app gets it, and the test sees that

    # -- what the peer does ------------------------------------------------------------------------------------------

    def answer(self, method: str, *answers: Any) -> None:
        """Answer calls of this method from now on; a method of which nothing was said is unknown to the peer.

        Args:
            method: its name.
            answers: given one after the other, the last one again and again. A callable is called with the payload of
                the call, an exception is raised, anything else is the result. None at all: no answer ever comes, and
                the call runs out of its time.
        """
        self._silent.discard(method)
        if not answers:
            self._silent.add(method)
            return
        following = chain(answers, repeat(answers[-1]))

        def perform(*payload: Any) -> Any:
            one = next(following)
            if isinstance(one, BaseException) or (isinstance(one, type) and issubclass(one, BaseException)):
                raise one
            return one(*payload) if callable(one) else one

        self.peer.perform(method, perform)

    def emit(self, event: str, payload: Any = None) -> None:
        """Send the app an event; returns when its handlers have run."""
        self.peer.notify(event, payload)

    def call(self, method: str, *payload: Any, timeout: float | None = None) -> Any:
        """Call what the app performs; returns and raises as `Connection.call` does."""
        return self.peer.call(method, *payload, timeout=timeout)

    # -- what goes wrong ---------------------------------------------------------------------------------------------

    def refuse(self, error: BaseException | None) -> None:
        """Have the app's next attempts to connect fail with this error; ``None`` lets it in again."""
        self._refusal = error

    def lose(self, reason: str = "lost") -> None:
        """Lose the link: what is in flight fails at once, what comes waits for `restore`, within its own time."""
        self._carrier.lose(Ending(1006, reason))

    def restore(self) -> None:
        """Have the link come back."""
        self._carrier.restore()

    def close(self) -> None:
        """End the connection, for good."""
        self.connection.close()

    # -- what the app does -------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """The app's connection; raises what `refuse` was given."""
        if self._refusal is not None:
            raise self._refusal
        return self.connection

    def calls_of(self, method: str) -> list[tuple[Any, ...]]:
        """The arguments of the calls of this method, in order."""
        return [call.arguments for call in list(self.calls) if call.method == method]

    def events_of(self, event: str) -> list[Any]:
        """The payloads of the events of this name, in order."""
        return [one.payload for one in list(self.events) if one.name == event]

    def _note(self, frame: bytes) -> bool:
        """Take note of what the app sends; whether the peer gets it."""
        try:
            message = json.loads(frame)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            return True  # not for us to judge
        if kind == "call":
            self.calls.append(Call(message["method"], tuple(message["payload"])))
            return message["method"] not in self._silent
        if kind == "event":
            self.events.append(Event(message["event"], message.get("payload")))
        elif kind == "request":
            self.requests.append(message.get("payload"))
        elif kind == "message":
            self.enqueued.append(message.get("payload"))
        return True

    def __enter__(self) -> Double:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Double of {self.connection.name!r} {self.connection.state.value}, {len(self.calls)} calls>"


class StandIn:
    """Gives an app a `Double` in place of a connection.

    Args:
        state: the app's.
        alias: the service that it stands in for.

    Attributes:
        double: the double.
    """

    def __init__(self, state: AppState, alias: str) -> None:
        self.double = Double(**state.options(alias, NEEDED))
        self._wiring = state.wiring(alias)
        self._wiring.wire(self.double.connection)

    @property
    def connection(self) -> Connection:
        """The app's end of the conversation."""
        return self.double.connect()

    def catch_up(self) -> None:
        """Give it the handlers that came after it."""
        self._wiring.catch_up()

    def close(self) -> None:
        """End the conversation."""
        self.double.close()
