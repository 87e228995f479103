"""A fake peer for tests: the other end of a connection in memory, which records everything that the app sends.

Payloads that are not JSON, unknown methods, handlers that raise, lost links and timeouts fail as they do on a socket.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from ...connection import Connection
from ...protocol.subscriptions import check_name
from ...states import CloseInfo
from ...testing.memory import MemoryPair
from ...testing.strict import check_answers
from .services import AppState

if TYPE_CHECKING:
    from ..recorded_hub import Published

# A connection in memory has no URL, no credentials and no network: only these options of `connect` mean something.
PAIR_OPTIONS = ("call_timeout", "limits", "sender", "name")


class Call(NamedTuple):
    """A call that the app made: the method and the arguments."""

    method: str
    arguments: tuple[Any, ...]


class Event(NamedTuple):
    """An event that the app sent: the name and the payload."""

    name: str
    payload: Any


class FakePeer:
    """A peer in memory that answers at once, on the calling thread; a context manager.

    ::

        fake.answer("getUser", {"id": 7})
        assert client.get("/users/7").json == {"id": 7}
        assert fake.calls == [("getUser", (7,))]

    The app must observe each event that the peer emits, and no handler of the app may raise: otherwise the method that
    sent the message raises `AssertionError`.

    Args:
        name: name of the app's connection.
        strict: false to send events whether or not the app observes them, and whatever its handlers raise.
        options: other options of `owlsocket_sync.testing.pair`.

    Attributes:
        connection: the app's end.
        remote: the peer's end, a full `Connection`, for everything without a method here: ``fake.remote.stream(…)``.
        calls: calls of the app in order, unanswered ones included.
        events: events of the app in order.
        requests: payloads of the app's requests.
        enqueued: payloads that the app enqueued.
        published: events that the app published to the hub of ``OWLSOCKET_HUB``: name, payload, room and user.
    """

    def __init__(self, name: str = "fake", *, strict: bool = True, **options: Any) -> None:
        ends = MemoryPair(name=name, strict=strict, **options)
        self.connection, self.remote, self._carrier = ends.connection, ends.remote, ends.carrier
        self._strict_end = ends.strict_end
        self.calls: list[Call] = []
        self.events: list[Event] = []
        self.requests: list[Any] = []
        self.enqueued: list[Any] = []
        self.published: list[Published] = []
        self._unanswered: set[str] = set()
        self._connect_error: BaseException | None = None
        self._carrier.message_filter = self._record
        # The error is marshalled to the app, where the test sees it: a log line on the peer's end is noise.
        self.remote.on_error(lambda error, context: None)

    # -- the peer's behaviour ----------------------------------------------------------------------------------------

    def answer(self, method: str, *answers: Any) -> None:
        """Answer calls of a method from now on; methods without an answer are unknown to the peer.

        Args:
            method: name of the method.
            answers: answers in order; the last one repeats. A callable is called with the payload, an exception is
                raised, any other value is the result. Without answers, calls of the method time out.

        Raises:
            TypeError: the method is not text, or an answer is an async or a generator function.
            ValueError: the method looks like a pattern.
        """
        check_answers("answer", method, answers)
        self._unanswered.discard(method)
        if not answers:
            self._unanswered.add(method)
            return
        upcoming = chain(answers, repeat(answers[-1]))

        def perform(*payload: Any) -> Any:
            answer = next(upcoming)
            if isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException)):
                raise answer
            return answer(*payload) if callable(answer) else answer

        self.remote.perform(method, perform)

    def emit(self, event: str, payload: Any = None) -> None:
        """Send an event to the app; returns after the app's handlers have run.

        Raises:
            AssertionError: the app does not observe the event, or a handler has raised; the message has the names that
                the app observes. Not with ``strict=False``.
        """
        check_name("emit", event)
        self.remote.notify(event, payload)

    def call(self, method: str, *payload: Any, timeout: float | None = None) -> Any:
        """Call a method that the app performs; returns and raises as `Connection.call` does."""
        return self.remote.call(method, *payload, timeout=timeout)

    # -- failures ----------------------------------------------------------------------------------------------------

    def refuse(self, error: BaseException | None) -> None:
        """Fail the app's next attempts to connect with this error; ``None`` accepts connections again."""
        self._connect_error = error

    def drop_link(self, reason: str = "lost") -> None:
        """Lose the link: pending calls fail at once, new calls wait for `restore_link` within their timeout.

        Raises:
            AssertionError: a handler of the app has raised. Not with ``strict=False``.
        """
        with self._no_errors("the loss of the link"):
            self._carrier.lose(CloseInfo(1006, reason))

    def restore_link(self) -> None:
        """Open the link again; raises as `drop_link` does."""
        with self._no_errors("the new link"):
            self._carrier.restore()

    def _no_errors(self, what: str) -> AbstractContextManager[None]:
        return nullcontext() if self._strict_end is None else self._strict_end.no_errors(what)

    def close(self) -> None:
        """Close both ends for good; idempotent."""
        self.connection.close()

    # -- the app's end -----------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """Return the app's connection, or raise the error that `refuse` set."""
        if self._connect_error is not None:
            raise self._connect_error
        return self.connection

    def calls_of(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of the calls of a method, in order."""
        check_name("calls_of", method)
        # A copy: handlers and views of other threads may append meanwhile.
        return [call.arguments for call in list(self.calls) if call.method == method]

    def events_of(self, name: str) -> list[Any]:
        """Return the payloads of the events of a name, in order."""
        check_name("events_of", name)
        return [event.payload for event in list(self.events) if event.name == name]

    def _record(self, frame: bytes) -> bool:
        """Record a message of the app; return whether the peer receives the message."""
        try:
            message = json.loads(frame)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            return True  # the peer rejects and counts malformed text, as a server does
        if kind == "call":
            self.calls.append(Call(message["method"], tuple(message["payload"])))
            # The call must not reach the peer, which would answer an unknown method: the app waits until its timeout.
            return message["method"] not in self._unanswered
        if kind == "event":
            self.events.append(Event(message["event"], message.get("payload")))
        elif kind == "request":
            self.requests.append(message.get("payload"))
        elif kind == "message":
            self.enqueued.append(message.get("payload"))
        return True

    def __enter__(self) -> FakePeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FakePeer of {self.connection.name!r} {self.connection.state.value}, {len(self.calls)} calls>"


class FakeService:
    """Connection source that returns the app's end of a `FakePeer`.

    Args:
        state: state of the app.
        alias: service to replace.
        strict: as in `FakePeer`.

    Attributes:
        peer: the fake peer.
    """

    def __init__(self, state: AppState, alias: str, strict: bool) -> None:
        self.peer = FakePeer(strict=strict, **state.options(alias, PAIR_OPTIONS))
        self._binder = state.binder(alias)
        self._binder.bind(self.peer.connection)

    @property
    def connection(self) -> Connection:
        """The app's end of the fake peer."""
        return self.peer.connect()

    def use(self, timeout: float | None) -> tuple[Connection, float | None]:
        """Return the app's end, which needs no time to connect."""
        return self.connection, timeout

    def enqueue(self, payload: Any, id: str | None) -> None:
        """Send a message to the fake peer, which has no outbox before it."""
        self.connection.enqueue(payload, id)

    def sync(self) -> None:
        """Register handlers that were added since the connection was made."""
        self._binder.sync()

    def close(self) -> None:
        """Close the fake peer."""
        self.peer.close()
