"""A peer in memory: a test says what it answers, and asks what it was told.

Two real connections whose messages are handed over as they would travel, so that what cannot be sent as JSON, an
unknown method or a handler that raises ends as it does on a socket. There is none: handlers run at once, on the thread
that sends, one within the other.

Threads: ``_line`` (a condition) guards whether there is a link, and its number, and is free while anything is handed
over. A timer, where a submitted call may run out of time, is the one thread here; `FakeOwlSocket.close` ends it.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from itertools import chain, repeat
from typing import Any, NamedTuple

from ..connection import Connection
from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..options import Limits
from ..stages import ConnectionState, Ending, StateChange

CALL_TIMEOUT = 60.0
URL = "memory://"


class Call(NamedTuple):
    """A call that came from the app."""

    method: str
    payload: tuple[Any, ...]


class Event(NamedTuple):
    """An event that came from the app."""

    event: str
    payload: Any


class Line:
    """What both ends share: the link, and how it ended."""

    def __init__(self) -> None:
        self.line = threading.Condition(threading.Lock())
        self.links = 1
        self.up = True
        self.ending: Ending | None = None


class End:
    """One end of the line; see `owlsocket_sync.protocol.carrier.Carrier`."""

    url = URL
    latency: float | None = None
    own: Connection
    other: End

    def __init__(self, line: Line, seen: Callable[[bytes], bool]) -> None:
        self._shared = line
        self._line = line.line
        self._seen = seen
        self._timer: threading.Timer | None = None
        self._due = math.inf

    @property
    def links(self) -> int:
        """How many links there were so far."""
        return self._shared.links

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        if self._shared.ending is not None:
            return ConnectionState.CLOSED
        return ConnectionState.OPEN if self._shared.up else ConnectionState.RECONNECTING

    def open_link(self) -> int | None:
        """The link, while it is up."""
        return self.links if self.state is ConnectionState.OPEN else None

    def await_link(self, deadline: Deadline) -> int:
        """Wait for the link to come back."""
        shared = self._shared
        with self._line:
            self._line.wait_for(lambda: shared.up or shared.ending is not None, deadline.wait_seconds())
        link = self.open_link()
        if link is None:
            raise self.closing_error() or SocketTimeout(f"no link to {URL} within {deadline.seconds:g} s")
        return link

    def transmit(
        self,
        frames: Sequence[bytes],
        link: int,
        deadline: Deadline,
        *,
        answer: bool = False,
        answered: Callable[[], bool] | None = None,
    ) -> bool:
        """Let the other end receive these messages."""
        if link != self.open_link():
            return False
        for frame in frames:
            if self._seen(frame):
                self.other.own.receive(frame.decode())
        return True

    def read_for(self, answered: Callable[[], bool], deadline: Deadline) -> None:
        """Nothing: what was sent was received at once."""

    def ping(self, deadline: Deadline) -> float:
        """No way is shorter."""
        if self.open_link() is None:
            raise SocketConnectionError(f"no link to {URL} ({self.state.value})")
        self.latency = 0.0
        return self.latency

    def reconnect(self) -> None:
        """A new link in place of the one that there is."""
        self.lose(Ending(1000, "asked to reconnect"))
        self.restore()

    def lose(self, ending: Ending) -> None:
        """The link goes down, for both ends."""
        with self._line:
            if not self._shared.up:
                return
            self._shared.up, link = False, self._shared.links
        for end in (self, self.other):
            end.own._link_lost(link, ending)
            end.tell(ConnectionState.RECONNECTING, ConnectionState.OPEN, ending)

    def restore(self) -> None:
        """A new link comes up, for both ends."""
        with self._line:
            if self._shared.up or self._shared.ending is not None:
                return
            self._shared.up = True
            self._shared.links += 1
            self._line.notify_all()
        for end in (self, self.other):
            end.tell(ConnectionState.OPEN, ConnectionState.RECONNECTING, None)
            end.own._link_opened()

    def tell(self, state: ConnectionState, previous: ConnectionState, ending: Ending | None) -> None:
        """Tell of a change of the state."""
        told = () if ending is None else (ending.code, ending.reason, ending.error)
        self.own._tell_state(StateChange(state, previous, *told))

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End for good, both ends."""
        with self._line:
            if self._shared.ending is not None:
                return
            previous, link = self.state, self._shared.links
            self._shared.ending = ending = Ending(code, reason)
            self._line.notify_all()
        for end in (self, self.other):
            end.own._link_lost(link, ending)
            end.own._over(end._closed_error)
            end.tell(ConnectionState.CLOSED, previous, ending)
            end.rest()

    def wait_open(self, deadline: Deadline) -> None:
        """Wait for the link."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait for the end."""
        with self._line:
            self._line.wait_for(lambda: self._shared.ending is not None, deadline.wait_seconds())
            return self._shared.ending

    def closing_error(self) -> SocketConnectionError | None:
        """An error once it is closed."""
        return None if self._shared.ending is None else self._closed_error()

    def _closed_error(self) -> SocketConnectionError:
        return SocketConnectionError(f"{self.own.name} is closed")

    # -- the clock ---------------------------------------------------------------------------------------------------

    def wake_at(self, at: float) -> None:
        """Have the connection look at its clock at this moment."""
        with self._line:
            if at >= self._due or self._shared.ending is not None:
                return
            before, self._due = self._timer, at
            self._timer = timer = threading.Timer(max(0.0, at - time.monotonic()), self._look_at_clock)
            timer.daemon = True
        if before is not None:
            before.cancel()
        timer.start()

    def _look_at_clock(self) -> None:
        with self._line:
            self._timer, self._due = None, math.inf
        following = self.own.expire(time.monotonic())
        if following < math.inf:
            self.wake_at(following)

    def rest(self) -> None:
        """No clock is looked at any more."""
        with self._line:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class FakeOwlSocket:
    """The peer of an app that is tested; a context manager that closes itself.

    ::

        fake.answer("getUser", {"id": 7})
        assert client.get("/users/7").json == {"id": 7}
        assert fake.calls == [("getUser", (7,))]

    Args:
        name: of the app's connection.
        limits: of both ends.
        call_timeout: seconds that a call of the app waits for its answer when it does not say.
        sender: named in each message of the app as the one who speaks.

    Attributes:
        app_side: the connection that the app gets.
        peer: the other end of it, for whatever is not here: ``fake.peer.perform(…)``, ``fake.peer.stream(…)``.
        calls: what the app called so far.
        notified: the events that it sent.
        requests: the payloads of the requests that it made.
        enqueued: the payloads that it put on the queue.
    """

    def __init__(
        self,
        *,
        name: str = "fake",
        limits: Limits = Limits(),
        call_timeout: float = CALL_TIMEOUT,
        sender: str | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.notified: list[Event] = []
        self.requests: list[Any] = []
        self.enqueued: list[Any] = []
        self._silent: set[str] = set()
        self._refusal: BaseException | None = None
        line = Line()
        self._end, there = End(line, self._see), End(line, lambda frame: True)
        self._end.other, there.other = there, self._end
        options: dict[str, Any] = {"limits": limits, "call_timeout": call_timeout}
        self.app_side = Connection(
            self._end, _at_once, nullcontext, lambda deadline: True, name=name, sender=sender, stamp=True, **options
        )
        self.peer = Connection(there, _at_once, nullcontext, lambda deadline: True, name=f"peer of {name}", **options)
        self._end.own, there.own = self.app_side, self.peer
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
        self._end.lose(Ending(1006, reason))

    def restore(self) -> None:
        """Have the link come back."""
        self._end.restore()

    def close(self) -> None:
        """End the connection, for good."""
        self.app_side.close()

    # -- what the app does -------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """The app's connection; raises what `refuse` was given."""
        if self._refusal is not None:
            raise self._refusal
        return self.app_side

    def calls_of(self, method: str) -> list[tuple[Any, ...]]:
        """The payloads of the calls of this method, in order."""
        return [call.payload for call in list(self.calls) if call.method == method]

    def events_of(self, event: str) -> list[Any]:
        """The payloads of the events of this name, in order."""
        return [one.payload for one in list(self.notified) if one.event == event]

    def _see(self, frame: bytes) -> bool:
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
            self.notified.append(Event(message["event"], message.get("payload")))
        elif kind == "request":
            self.requests.append(message.get("payload"))
        elif kind == "message":
            self.enqueued.append(message.get("payload"))
        return True

    def __enter__(self) -> FakeOwlSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FakeOwlSocket of {self.app_side.name!r} {self._end.state.value}, {len(self.calls)} calls>"


def _at_once(lane: Hashable, function: Callable[..., object], *arguments: Any) -> bool:
    function(*arguments)
    return True
