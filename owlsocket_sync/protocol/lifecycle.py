"""What is seen of a connection from outside: ``listen``, ``state``, ``on_state``, ``on_error`` and ``stats``.

Threads: ``_tally_lock`` guards the counters and is a leaf. A message that came or went is put on a list, in one step,
and added to the counters by whoever comes by with the lock: so they are exact, whichever threads receive.
Listeners share one lane, so each sees messages in the order in which they came; so do state handlers, and error
handlers.
"""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from ..stages import ConnectionState, Ending, StateChange
from ..values import on_one_line
from .carrier import Carrier
from .endpoint import ErrorContext
from .instruments import Instrumented
from .messages import EventMessage, Message, MessageType
from .subscription import Registry, Subscription

logger = logging.getLogger("owlsocket_sync")

Listener = TypeVar("Listener", bound=Callable[..., Any])

ALL = ""
UNCOUNTED = 64
"""How many messages may wait for being counted."""


class Lifecycle(Instrumented):
    """Tell whoever listens what comes in, what goes wrong, and where the connection stands."""

    _carrier: Carrier

    def __init__(self, name: str) -> None:
        self._name = name
        self._listeners: Registry[Callable[[Message | str], Any]] = Registry()
        self._state_handlers: Registry[Callable[[StateChange], Any]] = Registry()
        self._error_handlers: Registry[Callable[[Exception, ErrorContext], Any]] = Registry()
        self._tally_lock = threading.Lock()
        self._tally = dict.fromkeys(
            ("messages_in", "messages_out", "bytes_in", "bytes_out", "malformed", "unmatched", "dropped"), 0
        )
        self._uncounted_in: list[int] = []
        self._uncounted_out: list[int] = []

    @property
    def name(self) -> str:
        """What logs call this connection."""
        return self._name

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it leads, without secrets."""

    @property
    @abstractmethod
    def state(self) -> ConnectionState:
        """Where the connection stands."""

    def listen(self, listener: Listener) -> Subscription:
        """Have ``listener(message)`` run for every message, in order.

        It gets a `Message`, or ``str`` for text that begins like JSON and is none; and for each link that ends a
        system message ``close`` with the payload ``{"code": …}``.
        """
        return self._listeners.add(ALL, listener)

    def on_state(self, handler: Callable[[StateChange], Any]) -> Subscription:
        """Have ``handler(change)`` run at each change of the state, in order."""
        return self._state_handlers.add(ALL, handler)

    def on_error(self, handler: Callable[[Exception, ErrorContext], Any]) -> Subscription:
        """Have ``handler(error, context)`` run for whatever goes wrong in a handler or in an incoming message.

        Without such a handler, errors are logged.
        """
        return self._error_handlers.add(ALL, handler)

    def _tell_listeners(self, message: Message | str) -> None:
        if self._listeners:
            text = message if isinstance(message, str) else message.raw or ""
            self._submit("listen", len(text), self._run_handlers, self._listeners, "listen", message)

    def _run_handlers(self, registry: Registry[Any], source: str, news: Any) -> None:
        for one in registry.get(ALL):
            if one.active:
                self._guarded(source, "", one.handler, news)

    def _tell_closed_link(self, ending: Ending) -> None:
        """The one ``close`` that listeners get for each link."""
        self._tell_listeners(EventMessage(MessageType.SYSTEM, {"code": ending.code}, event="close"))

    def _tell_state(self, change: StateChange) -> None:
        """Tell of a change; called in order, by whoever keeps the state."""
        self._log_state(change)
        if self._state_handlers.get(ALL):
            self._submit("state", 0, self._run_handlers, self._state_handlers, "on_state", change)
        if self._state_instruments:
            self._submit("state", 0, self._tell_instruments_state, change)

    def _log_state(self, change: StateChange) -> None:
        level = logging.WARNING if change.error is not None else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = {
            "owlsocket_connection": self._name,
            "owlsocket_url": self.url,
            "owlsocket_state": change.state.value,
            "owlsocket_previous": change.previous.value,
            "owlsocket_code": change.code,
            "owlsocket_reason": change.reason,
            "owlsocket_links": self._carrier.links,
            "owlsocket_error": None if change.error is None else type(change.error).__name__,
        }
        reason = f" ({on_one_line(change.reason)})" if change.reason else ""
        logger.log(level, "%s: %s%s", self._name, change.state.value, reason, extra=fields)

    def _report(self, error: BaseException, context: ErrorContext) -> None:
        if self._error_handlers.get(ALL):
            size = 1 if context.message is None else len(context.message.raw or "x")
            self._submit("error", size, self._run_error_handlers, error, context)
        else:
            fields = {
                "owlsocket_connection": self._name,
                "owlsocket_source": context.source,
                "owlsocket_name": context.name,
                "owlsocket_error": type(error).__name__,
            }
            trace = error if error.__traceback__ else None
            said = on_one_line(str(context)), on_one_line(str(error))  # either may hold what a peer said
            logger.error("%s: %s: %s", self._name, *said, exc_info=trace, extra=fields)

    def _run_error_handlers(self, error: BaseException, context: ErrorContext) -> None:
        for one in self._error_handlers.get(ALL):
            if not one.active:
                continue
            try:
                one.handler(error, context)
            except BaseException:
                logger.exception("%s: an on_error handler failed at %s", self._name, context)

    def _count(self, name: str, by: int = 1) -> None:
        with self._tally_lock:
            self._tally[name] += by

    def _count_traffic(self, direction: str, messages: int, size: int) -> None:
        uncounted = self._uncounted_in if direction == "in" else self._uncounted_out
        if messages == 1:
            uncounted.append(size)
            if len(uncounted) > UNCOUNTED:
                self._count_up()
        else:
            with self._tally_lock:
                self._tally[f"messages_{direction}"] += messages
                self._tally[f"bytes_{direction}"] += size

    def _count_up(self) -> None:
        """Add to the counters what is on the lists; what others append meanwhile stays on them."""
        with self._tally_lock:
            for direction, uncounted in (("in", self._uncounted_in), ("out", self._uncounted_out)):
                sizes = uncounted[:]
                del uncounted[: len(sizes)]
                self._tally[f"messages_{direction}"] += len(sizes)
                self._tally[f"bytes_{direction}"] += sum(sizes)

    def _counted(self) -> dict[str, int]:
        self._count_up()
        with self._tally_lock:
            return {**self._tally, "reconnects": max(0, self._carrier.links - 1)}

    def _renew_lifecycle(self) -> None:
        self._tally_lock = threading.Lock()
        self._tally = dict.fromkeys(self._tally, 0)  # what the parent counted is told by the parent
        self._uncounted_in, self._uncounted_out = [], []
        for registry in (self._listeners, self._state_handlers, self._error_handlers):
            registry.renew_locks()
