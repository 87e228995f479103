"""Calls, both ways: those of ours, and the peer's, which handlers ``perform``."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, overload

from ..deadline import Deadline
from ..errors import ResilientError, SocketMessageError, SocketMessageMalformed, SocketUnsupported
from ..stages import STAGES_TO_REACH, AuthenticationStage
from .calls import Calls
from .codec import SHOWN_CHARACTERS, is_id
from .endpoint import ErrorContext
from .instruments import LATE, Measured
from .messages import CallMessage, Message, MessageType
from .subscription import Registry, Subscription

Performer = TypeVar("Performer", bound=Callable[..., Any])


class Rpc(Calls):
    """Call the peer's methods, and perform its calls of ours."""

    expose_tracebacks: bool = False

    def __init__(self, pending_limit: int) -> None:
        super().__init__(pending_limit)
        self._performers: Registry[Callable[..., Any]] = Registry()

    @overload
    def perform(
        self, method: str, handler: Callable[..., Any], *, stage: AuthenticationStage | None = None
    ) -> Subscription: ...
    @overload
    def perform(self, method: str, *, stage: AuthenticationStage | None = None) -> Callable[[Performer], Performer]: ...

    def perform(
        self, method: str, handler: Callable[..., Any] | None = None, *, stage: AuthenticationStage | None = None
    ) -> Subscription | Callable[[Performer], Performer]:
        """Answer calls of ``method`` with ``handler(*payload)``; a decorator when ``handler`` is left out.

        The handler runs on a worker; calls run side by side. What it returns is the result, what it raises the error.
        The one registered last wins; when that is given up, the one before it answers again.

        Args:
            method: the name that the peer calls.
            handler: what answers it.
            stage: how far the peer must have authenticated; a call before that gets `SocketUnauthorized`.
        """
        if stage is not None and stage not in STAGES_TO_REACH:
            raise ValueError(f"stage must be a stage of authentication that can be reached, not {stage!r}")
        if handler is not None:
            return self._performers.add(method, self._behind(stage, method, handler))

        def register(handler: Performer) -> Performer:
            self._performers.add(method, self._behind(stage, method, handler))
            return handler

        return register

    def _behind(
        self, stage: AuthenticationStage | None, method: str, handler: Callable[..., Any]
    ) -> Callable[..., Any]:
        """The handler, for those alone who have come so far."""
        if stage is None or not callable(handler):
            return handler
        required = AuthenticationStage(stage)

        @wraps(handler)
        def perform(*payload: Any) -> Any:
            self._require_stage(required, f"method {method!r}")
            return handler(*payload)

        return perform

    def _receive_call(self, message: CallMessage, link: int) -> None:
        performers = self._performers.get(message.method)
        if not performers:
            error = SocketUnsupported(f"method {message.method[:SHOWN_CHARACTERS]!r} is not performed here")
            self._answer_error(message, error, link)
            self._report(error, ErrorContext("perform", message.method, message))
            return
        deadline = Deadline(self.default_call_timeout if message.timeout is None else message.timeout)
        size = len(message.raw or "")
        self._submit(None, size, self._perform, performers[-1], message, deadline, link)

    def _perform(self, performer: Subscription, message: CallMessage, deadline: Deadline, link: int) -> None:
        if not performer.active:
            return self._receive_call(message, link)
        measured = self._measure("perform", message.method, message) if self._instruments else None
        try:
            try:
                result = performer.handler(*message.payload)
            except BaseException as error:
                answer = self._error_of(message, error, measured)
            else:
                answer = Message(MessageType.RESULT, result, message.id)
            if deadline.expired():
                self._count("dropped")
                if measured is not None:
                    measured.status = LATE
            elif message.id is not None:
                self._answer_call(message, answer, link, measured)
        finally:
            if measured is not None:
                measured.end()
        return None

    def _answer_call(self, message: CallMessage, answer: Message, link: int, measured: Measured | None) -> None:
        try:
            self._answer(answer, link)
        except SocketMessageError as error:
            self._answer(self._error_of(message, error, measured), link)

    def _error_of(self, message: CallMessage, error: BaseException, measured: Measured | None) -> Message:
        """The answer where a handler went wrong, which is reported."""
        self._report(error, ErrorContext("perform", message.method, message))
        if measured is not None:
            measured.error = error
        return self._error_answer(message, error)

    def _error_answer(self, message: Message, error: BaseException) -> Message:
        ensured = ResilientError.ensure(error)
        text = ResilientError(ensured.type, ensured.message).marshal()
        if self.expose_tracebacks:
            text = ResilientError(ensured.type, ensured.message, "".join(traceback.format_exception(error))).marshal()
        return Message(MessageType.ERROR, text, message.id)

    def _answer_error(self, message: Message, error: Exception, link: int) -> None:
        """Answer a call that cannot be performed, where it has an id to answer to; on a worker."""
        if message.id is not None:
            size = len(message.raw or "x")
            self._submit(None, size, self._answer, self._error_answer(message, error), link)

    def _refuse_malformed(self, error: SocketMessageMalformed, link: int) -> None:
        """Tell whoever waits for it that a call or an answer could not be read."""
        kind, id = error.fields.get("type"), error.fields.get("id")
        if not is_id(id):
            return
        if kind == MessageType.CALL.value:
            self._answer_error(Message(MessageType.CALL, id=id), error, link)
        elif kind in (MessageType.RESULT.value, MessageType.ERROR.value):
            pending = self._forget_call(id)
            if pending is not None:
                pending.complete(error=error)

    def _renew_calls(self) -> None:
        super()._renew_calls()
        self._performers.renew_locks()
