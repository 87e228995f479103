"""What tests talk to in place of a server: the other end of a connection in memory, which keeps what it was told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...protocol.messages import CallMessage, EventMessage, Message
from ...testing.pair import pair


@dataclass(frozen=True)
class Call:
    """A call that was made: its method and its arguments."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Event:
    """An event that was sent: its name and its payload."""

    name: str
    payload: Any


class Double:
    """A peer in memory; what is asked of it is answered at once, on the thread that asks.

    Attributes:
        peer: its end, a whole `Connection`: ``peer.perform("getUser", lambda number: …)`` says what it answers,
            ``peer.notify("order.paid", …)`` has the handlers of the app run, ``peer.call(…)`` asks the app.
        connection: the app's end.
        calls: the calls that came, in order, those that nobody answers included.
        events: the events that came, in order.
    """

    def __init__(self, name: str) -> None:
        self.connection, self.peer = pair(name=name)
        self.calls: list[Call] = []
        self.events: list[Event] = []
        self.peer.prepare = self._note

    def _note(self, message: Message, is_request: bool) -> Message:
        if is_request and isinstance(message, CallMessage):
            self.calls.append(Call(message.method, tuple(message.payload)))
        elif is_request and isinstance(message, EventMessage):
            self.events.append(Event(message.event, message.payload))
        return message

    def answer(self, method: str, result: Any) -> None:
        """Answer calls of a method: with this, or by raising it where it is an exception."""

        def perform(*arguments: Any) -> Any:
            if isinstance(result, BaseException):
                raise result
            return result

        self.peer.perform(method, perform)

    def emit(self, event: str, payload: Any = None) -> None:
        """Send an event to the app; its handlers have run when this returns."""
        self.peer.notify(event, payload)

    def close(self) -> None:
        """End both ends."""
        self.peer.close()
