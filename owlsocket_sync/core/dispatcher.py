"""The way into a connection: from the text of a frame to the family of messages that it belongs to.

Answers are completed by the thread that reads, at once; whatever runs a user's code is handed to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketMessageMalformed
from ..protocol.carrier import Carrier
from ..protocol.codec import decode
from ..protocol.counters import UNCOUNTED
from ..protocol.json_parser import find_fields
from ..protocol.malformed import malformed
from ..protocol.messages import AuthMessage, CallMessage, EventMessage, Message, MessageType, is_id
from ..protocol.private_copy import private_copy
from ..protocol.reports import ErrorContext
from ..protocol.services import Services
from ..protocol.settings import Settings, check_prepared
from ..protocol.subscriptions import Registry, run_isolated
from .families import Families
from .tasks import Tasks
from .waits import Waits

PONG = b'{"type":"pong"}'
DESCRIBE = "describe"
"""The system message that asks an end for its description; an end of the reference shows it to listeners alone."""
CALL, RESULT, ERROR, EVENT = MessageType.CALL, MessageType.RESULT, MessageType.ERROR, MessageType.EVENT


class Dispatcher:
    """Takes in what arrives, and hands it on.

    Args:
        families: who gets what arrives.
        services: what the connection offers.
        settings: of the connection.
        listeners: handlers that see every message.
        tasks: with cleanups that were deferred.
        waits: of threads that wait for the peer.
        carrier: sends pongs.

    Attributes:
        draining: whether what asks for something new is refused.
        closing: whether it is dropped instead, because this end has said goodbye.
        describe: answers a peer that asks for the description of this end, with the payload and the link; ``None``
            where the option is off.
    """

    __slots__ = (
        "_carrier", "_counters", "_durable", "_families", "_hooks", "_listeners", "_services", "_settings", "_tasks",
        "_waits", "closing", "describe", "draining",
    )  # fmt: skip

    def __init__(
        self,
        families: Families,
        services: Services,
        settings: Settings,
        listeners: Registry[Callable[..., Any]],
        tasks: Tasks,
        waits: Waits,
        carrier: Carrier,
    ) -> None:
        self._families = families
        self._services = services
        self._counters = services.counters
        self._hooks = services.hooks
        self._settings = settings
        self._listeners = listeners
        self._durable = families.durable
        self._tasks = tasks
        self._waits = waits
        self._carrier = carrier
        self.draining = self.closing = False
        self.describe: Callable[[Any, int], None] | None = None

    def receive(self, text: str | bytes | bytearray | memoryview, link: int) -> None:
        """Take in one frame; never raises for what is in it.

        Args:
            text: the frame; bytes count as their UTF-8 text.
            link: the number of the link on which it arrived; answers go nowhere else.
        """
        if isinstance(text, str):
            size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        else:
            text = bytes(text)
            size = len(text)
        sizes = self._counters.sizes_in
        sizes.append(size)
        if len(sizes) > UNCOUNTED:
            self._counters.flush()
        if self._hooks.message_instruments:
            self._hooks.report_messages("in", (size,))
        ignored: list[str] = []
        try:
            message = decode(text, self._services.json_depth, ignored)
        except SocketMessageMalformed as error:
            self._counters.count("malformed")
            received = text if isinstance(text, str) else text.decode(errors="replace")
            self._services.report(error, ErrorContext("receive"), received)
            self._refuse_malformed(error, link)
            return
        if isinstance(message, str):
            self._counters.count("malformed")
            unreadable = malformed("text that is not JSON", message, find_fields(message))
            self._services.report(unreadable, ErrorContext("receive"), message)
            if not self.closing:
                self._families.listeners.notify_message(message)
            self._refuse_malformed(unreadable, link)
        elif isinstance(message.type, MessageType) or not self._handle_heartbeat(message, size, link):
            # One of an unknown type is counted where it is refused.
            if ignored and isinstance(message.type, MessageType):
                self._counters.count("malformed")
            if message.dt is None:
                message.dt = time.time()
            if self._settings.prepare is None:
                self._route(message, link)
            elif message.type is not MessageType.SYSTEM or not self._is_between_ends(message, link):
                # The hook is user code: on one lane, so that messages are routed in the order in which they came.
                size = self._services.backlog.weigh(message.raw)
                self._services.dispatch("prepare", size, self._prepare_and_route, message, link)

    def stop(self) -> None:
        """Drop from now on what asks for something new: this end has said goodbye, and the peer may ignore it."""
        self.draining = self.closing = True

    def has_room(self) -> bool:
        """Return whether more may be read: a full backlog stops that, a pending answer lets it go on a while."""
        families = self._families
        if self._tasks.deferred:
            self._tasks.run_deferred()
        backlog = self._services.backlog
        # After the goodbye what arrives is dropped, and takes no room; the close frame of the peer may be behind it.
        if backlog.has_room() or self.closing:
            return True
        # The answer that a handler waits for may be behind what fills the backlog.
        awaiting = families.calls.table.pending or families.authentication.is_exchanging or self._waits.is_awaiting()
        return bool(awaiting) and backlog.has_reserve()

    def _handle_heartbeat(self, message: Message, size: int, link: int) -> bool:
        """Return whether it is a ping, which is answered, or a pong, of those that are messages."""
        if self._durable is not None and message.type in ("ping", "pong") and not self.closing:
            exchange = self._durable.exchange
            (exchange.receive_ping if message.type == "ping" else exchange.receive_pong)(link)
        elif message.type == "ping" and not self.closing:
            # On a worker: the reader never waits for the write lock.
            deadline = Deadline(self._settings.call_timeout)
            self._services.dispatch("pong", size, self._carrier.transmit, [PONG], link, deadline)
        return message.type in ("ping", "pong")

    def _prepare_and_route(self, message: Message, link: int) -> None:
        prepare, raw = self._settings.prepare, message.raw
        if prepare is not None:
            context = self._settings.prepare_context.copy()
            try:
                message = check_prepared(run_isolated(context, self._services.surroundings, prepare, message, True))
            except BaseException as error:
                self._refuse_unprepared(message, error, link)
                raise
            # Of a new message as well: where it waits for its handler, it counts by its text.
            if message.raw is None:
                message.raw = raw
        self._route(message, link)

    def _refuse_unprepared(self, message: Message, error: BaseException, link: int) -> None:
        """Answer a call, or fail the call of ours, whose message the hook did not let in: no caller waits for it."""
        if message.type is CALL and not self.closing:
            self._families.performers.refuse(message, error, link)
        elif message.type is MessageType.MESSAGE and self._durable is not None:
            self._durable.exchange.receive_unprepared(message, link)
        elif (message.type is RESULT or message.type is ERROR) and message.id is not None:
            self._families.calls.receive_unreadable(message.id, error)

    def _route(self, message: Message, link: int) -> None:
        kind, families = message.type, self._families
        # Before a handler can change it.
        seen = private_copy(message) if self._listeners else None
        if kind is EVENT and not self.draining:
            families.events.receive_event(cast(EventMessage, message))
        elif kind is RESULT or kind is ERROR:
            families.calls.receive_answer(message)
        elif kind is MessageType.RESPONSE:
            families.requests.receive_response(message)
        elif kind is MessageType.AUTH and not (self.closing and not families.authentication.is_exchanging):
            families.authentication.receive_auth(cast(AuthMessage, message), link)
        elif kind is not MessageType.SYSTEM or self.closing:
            self._dispatch_request(kind, message, link)
            if self.closing:
                return
        elif self._is_between_ends(message, link):
            return
        if seen is not None:
            families.listeners.notify_message(seen)

    def _is_between_ends(self, message: Message, link: int) -> bool:
        """Return whether it is a frame that two ends of ours exchange, which listeners do not get, and take it in."""
        if not isinstance(message, EventMessage):
            return False
        if message.event == DESCRIBE and self.describe is not None:
            size = self._services.backlog.weigh(message.raw)
            self._services.dispatch(DESCRIBE, size, self.describe, message.payload, link)
            return True
        durable = self._durable
        return durable is not None and durable.exchange.receive_system(message.event, message.payload, link)

    def _dispatch_request(self, kind: MessageType | str, message: Message, link: int) -> None:
        """Hand on what asks for something new; a connection that drains refuses it, and drops it after its goodbye."""
        families = self._families
        if self.draining:
            self._counters.count("dropped")
            if kind is CALL and not self.closing:
                families.performers.refuse(message, SocketConnectionError("draining, no new calls are performed"), link)
        elif kind is CALL:
            families.performers.receive_call(cast(CallMessage, message), link)
        elif kind is MessageType.REQUEST:
            families.requests.receive_request(message)
        elif kind is MessageType.MESSAGE:
            if self._durable is None:
                families.queue.receive_message(message)
            else:
                self._durable.receive_message(message, link)
        else:
            self._counters.count("malformed")
            self._services.report(
                malformed(f"a message of the unknown type {kind!r}", message.raw or ""),
                ErrorContext("receive", str(kind), message),
            )

    def _refuse_malformed(self, error: SocketMessageMalformed, link: int) -> None:
        """Answer a call, or fail the call of ours, whose message could not be read but for its id."""
        kind, id = error.fields.get("type"), error.fields.get("id")
        if self._durable is not None and kind == MessageType.MESSAGE.value:
            self._durable.exchange.receive_unreadable(error.fields.get("seq"), id, link)
        if not is_id(id):
            return
        if kind == CALL.value and not self.closing:
            self._families.performers.refuse(Message(CALL, id=id), error, link)
        elif kind in (RESULT.value, ERROR.value):
            self._families.calls.receive_unreadable(id, error)
