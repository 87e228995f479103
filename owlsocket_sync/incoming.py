"""The way into a connection: from the text of a frame to the family of messages that it belongs to.

Answers are completed by whoever reads, at once; whatever runs a user's code is handed to a worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, cast

from .deadline import Deadline
from .errors import SocketConnectionError, SocketMessageMalformed
from .options import Limits
from .outgoing import Outgoing
from .protocol.auth import Auth
from .protocol.backlog import Backlog
from .protocol.codec import decode, malformed
from .protocol.endpoint import ErrorContext
from .protocol.events import Events
from .protocol.lifecycle import UNCOUNTED, Lifecycle
from .protocol.messages import AuthMessage, CallMessage, EventMessage, Message, MessageType
from .protocol.queue import Queue
from .protocol.requests import Requests

PONG = b'{"type":"pong"}'
CALL, RESULT, ERROR, EVENT = MessageType.CALL, MessageType.RESULT, MessageType.ERROR, MessageType.EVENT


class Incoming(Outgoing, Events, Requests, Queue, Auth, Lifecycle):
    """Takes in what arrives, and hands it on."""

    def __init__(self, run: Callable[..., bool], limits: Limits) -> None:
        self._run = run
        self._backlog = Backlog(limits.dispatch_messages, limits.dispatch_bytes)
        self._abandoned: list[Callable[[], None]] = []
        self._draining = False

    def receive(self, text: str | bytes | bytearray | memoryview, link: int | None = None) -> None:
        """Take in one frame, as if it had just arrived; never raises for what is in it.

        Args:
            text: the frame; bytes count as their UTF-8 text.
            link: the number of the link on which it arrived; answers go nowhere else. Default: the latest.
        """
        if self._abandoned:
            self._clean_up()
        if link is None:
            link = self._carrier.links
        if isinstance(text, str):
            size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        else:
            text = bytes(text)
            size = len(text)
        uncounted = self._uncounted_in
        uncounted.append(size)
        if len(uncounted) > UNCOUNTED:
            self._count_up()
        if self._message_instruments:
            self._tell_messages("in", (size,))
        try:
            message = decode(text, self._limits.json_depth)
        except SocketMessageMalformed as error:
            self._count("malformed")
            self._report(error, ErrorContext("receive"))
            self._refuse_malformed(error, link)
            return
        if isinstance(message, str):
            self._count("malformed")
            self._report(malformed("text that is no JSON", message), ErrorContext("receive"))
            self._tell_listeners(message)
        elif isinstance(message.type, MessageType) or not self._is_beat(message, size, link):
            if message.dt is None:
                message.dt = time.time()
            if self.prepare is None:
                self._route(message, link)
            else:
                self._submit("prepare", size, self._prepare_and_route, message, link)

    def _is_beat(self, message: Message, size: int, link: int) -> bool:
        """Whether it is a ping, which is answered, or a pong, of those that are messages."""
        if message.type == "ping":
            self._submit("pong", size, self._carrier.transmit, [PONG], link, Deadline(self.default_call_timeout))
        return message.type in ("ping", "pong")

    def _prepare_and_route(self, message: Message, link: int) -> None:
        if self.prepare is not None:
            message = self.prepare(message, True)
        self._route(message, link)

    def _route(self, message: Message, link: int) -> None:
        kind = message.type
        if kind is EVENT and not self._draining:
            self._receive_event(cast(EventMessage, message))
        elif kind is RESULT or kind is ERROR:
            self._receive_answer(message)
        elif kind is MessageType.RESPONSE:
            self._receive_response(message)
        elif kind is MessageType.AUTH:
            self._receive_auth(cast(AuthMessage, message), link)
        elif kind is not MessageType.SYSTEM:
            self._route_question(kind, message, link)
        if self._listeners:
            self._tell_listeners(message)

    def _route_question(self, kind: MessageType | str, message: Message, link: int) -> None:
        """What asks for something new: a connection that drains turns it down."""
        if self._draining:
            self._count("dropped")
            if kind is CALL:
                self._answer_error(message, SocketConnectionError("draining, no new calls are performed"), link)
        elif kind is CALL:
            self._receive_call(cast(CallMessage, message), link)
        elif kind is MessageType.REQUEST:
            self._receive_request(message)
        elif kind is MessageType.MESSAGE:
            self._receive_message(message)
        else:
            self._count("malformed")
            self._report(
                malformed(f"a message of the unknown type {kind!r}", message.raw or ""),
                ErrorContext("receive", str(kind), message),
            )

    # -- workers and the backlog ---------------------------------------------------------------------------------------

    def _submit(self, lane: Hashable, size: int, function: Callable[..., Any], *arguments: Any) -> None:
        if size:
            self._backlog.take(size)
        if not self._run(lane, self._perform_task, lane, size, function, arguments):
            self._count("dropped")
            if size:
                self._backlog.give_back(size)

    def _perform_task(
        self, lane: Hashable, size: int, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        try:
            function(*arguments)
        except BaseException as error:
            self._report(error, ErrorContext(str(lane or "worker")))
        finally:
            if size:
                self._backlog.give_back(size)

    def _run_callback(self, function: Callable[[], None]) -> None:
        if not self._run(f"callback {id(function)}", lambda: self._guarded("submit", "", function)):
            self._guarded("submit", "", function)

    def _abandon(self, clean_up: Callable[[], None]) -> None:
        self._abandoned.append(clean_up)

    def _clean_up(self) -> None:
        while self._abandoned:
            with suppress(IndexError):  # another thread took it
                self._abandoned.pop()()

    def _gathers(self) -> bool:
        return bool(self._thoughts.batch)

    def _has_room(self) -> bool:
        """Whether more may be read: a full backlog stops that, an answer that is waited for lets it go on a while."""
        self._clean_up()
        if self._backlog.has_room():
            return True
        return bool(self._calls or self._exchange is not None or self._awaited) and self._backlog.has_reserve()
