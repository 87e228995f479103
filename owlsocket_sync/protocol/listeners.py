"""Listeners, who see every message, and handlers of state changes: ``listen`` and ``on_state``.

Listeners share one lane, so each sees messages in the order in which they came; so do state handlers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..errors.safe_text import logger
from ..states import CloseInfo, StateChange
from ..values import escape_for_log
from .carrier import Carrier
from .messages import LinkClosedMessage, Message, MessageType
from .private_copy import private_copy
from .services import Services
from .subscriptions import ALL, Registry, Subscription


class Listeners:
    """Handlers that see a connection from outside.

    Args:
        name: the name of the connection in logs.
        services: what the connection offers.
        carrier: shown in logs.
        listeners: handlers of every message.
        state_handlers: handlers of state changes.
    """

    __slots__ = ("_carrier", "_listeners", "_name", "_services", "_state_handlers")

    def __init__(
        self,
        name: str,
        services: Services,
        carrier: Carrier,
        listeners: Registry[Callable[..., Any]],
        state_handlers: Registry[Callable[..., Any]],
    ) -> None:
        self._name = name
        self._services = services
        self._carrier = carrier
        self._listeners = listeners
        self._state_handlers = state_handlers

    def listen(self, listener: Callable[[Any], Any]) -> Subscription:
        """Register a listener; see `owlsocket_sync.Connection.listen`."""
        self._services.check_open()
        return self._listeners.add(ALL, listener, "message")

    def on_state(self, handler: Callable[[StateChange], Any]) -> Subscription:
        """Register a state handler; see `owlsocket_sync.Connection.on_state`."""
        # Read before it is added: a change that the caller may have seen happened before the registration.
        return self._state_handlers.add(ALL, handler, "change", self._carrier.latest_change)

    def notify_message(self, message: Message | str) -> None:
        """Have the listeners see a message, or text that is not JSON."""
        if self._listeners.find(ALL):
            text = message if isinstance(message, str) else message.raw
            size = self._services.backlog.weigh(text)
            self._services.dispatch("listen", size, self._run_handlers, self._listeners, "listen", message)

    def notify_link_closed(self, info: CloseInfo) -> None:
        """Have the listeners see the system message ``close``, once for each link."""
        if self._listeners.find(ALL):
            # Of a class of its own: the peer may send a system message "close" too, which closes nothing.
            self.notify_message(LinkClosedMessage(MessageType.SYSTEM, {"code": info.code}, event="close"))

    def notify_state(self, change: StateChange, number: int) -> None:
        """Log a change of the state, and have its handlers run; called in the order of the changes."""
        self._log_state(change)
        if self._state_handlers.find(ALL):
            self._services.dispatch("state", 0, self._run_handlers, self._state_handlers, "on_state", change, number)
        if self._services.hooks.state_instruments:
            self._services.dispatch("state", 0, Context().run, self._services.hooks.report_state, change)

    def _run_handlers(self, registry: Registry[Any], source: str, payload: Any, number: float = math.inf) -> None:
        """Run the handlers that were registered before the change of this number."""
        subscriptions = registry.get(ALL)
        for subscription in subscriptions:
            if subscription.active and subscription.since < number:
                own = payload if subscription is subscriptions[-1] else private_copy(payload)
                self._services.call_handler(source, "", subscription, own)

    def _log_state(self, change: StateChange) -> None:
        level = logging.WARNING if change.error is not None else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = {
            "owlsocket_connection": self._name,
            "owlsocket_url": self._carrier.url,
            "owlsocket_state": change.state.value,
            "owlsocket_previous": change.previous.value,
            "owlsocket_code": change.code,
            "owlsocket_reason": change.reason,
            "owlsocket_links": self._carrier.links,
            "owlsocket_error": None if change.error is None else type(change.error).__name__,
        }
        # The reason may be words of the peer, which must not break out of their line of the log.
        reason = f" ({escape_for_log(change.reason)})" if change.reason else ""
        logger.log(level, "%s: %s%s", self._name, change.state.value, reason, extra=fields)
