"""The strictness of doubles: what a peer sends must have a handler, and no handler may raise.

On a socket the peer would not learn of either. A test that passes all the same would not test anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..connection import Connection
from ..errors.safe_text import safe_str
from ..protocol.events import EVERY
from ..protocol.reports import ErrorContext
from ..protocol.subscriptions import ALL, check_handler, check_name, check_pattern

ANSWERED = ("perform", "authenticate")
"""The verbs whose errors reach the peer, and with it the test, as an answer."""


def check_answers(verb: str, method: object, answers: Sequence[object]) -> None:
    """Raise `TypeError` or `ValueError` for a name that no call has, or a function that cannot run as an answer."""
    check_name(verb, method)
    check_pattern(verb, str(method))
    for answer in answers:
        if callable(answer) and not isinstance(answer, type):
            check_handler(answer, f"an answer to {method!r}")


class StrictEnd:
    """The end of a double that is tested; for the peer's end, which raises in its place.

    Args:
        connection: the end that is tested.
        hint: how a test allows what is refused here; ends each message.
        is_internal: returns whether a handler observes all events without handling any.
    """

    def __init__(
        self, connection: Connection, hint: str, is_internal: Callable[[Any], bool] = lambda handler: False
    ) -> None:
        self._connection = connection
        self._hint = hint
        self._is_internal = is_internal

    def check_observed(self, event: str) -> None:
        """Raise `AssertionError` unless something takes an event of this name."""
        registrations = self._connection._core.registrations
        observers, queues = registrations.observers, registrations.event_queues
        if any((observers.get(event), queues.get(event), queues.get(EVERY), registrations.listeners.get(ALL))):
            return
        if any(not self._is_internal(observer.handler) for observer in observers.get(EVERY)):
            return
        names = sorted({str(name) for name in (*observers.names(), *queues.names())} - {EVERY})
        observed = f"observed: {', '.join(map(repr, names))}" if names else "no event is observed"
        raise AssertionError(f"no handler observes the event {event!r}; {observed} ({self._hint})")

    @contextmanager
    def no_errors(self, what: str) -> Iterator[None]:
        """Raise `AssertionError` at the end of the block if a handler has raised meanwhile, in any thread."""
        failures: list[tuple[BaseException, ErrorContext]] = []
        with self._connection.on_error(lambda error, context: failures.append((error, context))):
            yield
        failures = [failure for failure in failures if failure[1].source not in ANSWERED]
        if failures:
            described = "; ".join(
                f"{context}: {type(error).__name__}: {safe_str(error)}" for error, context in failures
            )
            raise AssertionError(f"{what} failed in {described} ({self._hint})") from failures[0][0]

    @contextmanager
    def delivery(self, frame: bytes) -> Iterator[None]:
        """Check that a message has a handler, and at the end of the block that none has raised."""
        try:
            message = json.loads(frame)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            kind = None  # it is counted and reported, as on a socket
        if kind == "event":
            self.check_observed(message["event"])
        if kind in ("event", "request", "response", "message"):
            with self.no_errors(f"the event {message['event']!r}" if kind == "event" else f"a {kind}"):
                yield
        else:
            yield
