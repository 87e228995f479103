"""The peer's calls of our methods, which handlers ``perform``, over the messages ``call``, ``result`` and ``error``."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from .. import fork
from ..callables import ANY
from ..deadline import Deadline
from ..errors import (
    SocketMessageError,
    SocketMessageMalformed,
    SocketUnauthorized,
    SocketUnsupported,
    marshal_for_peer,
)
from ..errors.safe_text import safe_str
from ..states import REACHABLE_STAGES, AuthenticationStage
from ..values import shorten_name
from .codec import misfit_text
from .hooks import LATE, Span
from .messages import CallMessage, Message, MessageType
from .reports import ErrorContext
from .services import Services
from .settings import Settings
from .subscriptions import HandlerContext, Registry, Subscription, check_handler


class RequiresStage(Protocol):
    """The authentication of the connection, as far as handlers are concerned."""

    def require_stage(self, stage: AuthenticationStage, what: str) -> None:
        """Raise `SocketUnauthorized` unless the peer has authenticated so far; ``what`` begins the message."""


class _Refused(Exception):
    """A call is refused before its handler runs."""

    def __init__(self, refusal: SocketUnauthorized) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class Performers:
    """Answers calls of the peer.

    Args:
        services: what the connection offers.
        settings: of the connection.
        handlers: what answers, by method.
        authentication: knows how far the peer has authenticated.
    """

    __slots__ = ("_authentication", "_handlers", "_services", "_settings")

    def __init__(
        self,
        services: Services,
        settings: Settings,
        handlers: Registry[Callable[..., Any]],
        authentication: RequiresStage,
    ) -> None:
        self._services = services
        self._settings = settings
        self._handlers = handlers
        self._authentication = authentication

    def perform(self, method: str, handler: Callable[..., Any], stage: AuthenticationStage | None) -> Subscription:
        """Register a handler; see `owlsocket_sync.Connection.perform`."""
        return self._handlers.add(method, self._with_stage_check(stage, method, handler))

    def _with_stage_check(
        self, stage: AuthenticationStage | None, method: str, handler: Callable[..., Any]
    ) -> Callable[..., Any]:
        check_handler(handler, f"the handler of {method!r}", ANY)
        self._services.check_open()
        if stage is None:
            return handler
        required = AuthenticationStage(stage)

        @wraps(handler)
        def perform(*payload: Any) -> Any:
            # Checked where the handler runs, not where the call arrives: an authentication may complete in between.
            try:
                self._authentication.require_stage(required, f"method {method!r}")
            except SocketUnauthorized as error:
                raise _Refused(error.with_traceback(None)) from None
            return handler(*payload)

        perform.required_stage = required  # type: ignore[attr-defined]  # read by descriptions alone
        return perform

    def receive_call(self, message: CallMessage, link: int) -> None:
        """Take in a call that arrived on this link."""
        handlers = self._handlers.get(message.method)
        if not handlers:
            error = SocketUnsupported(f"no handler registered for method {shorten_name(message.method)!r}")
            self.refuse(message, error, link)
            self._services.report(error, ErrorContext("perform", message.method, message))
            return
        deadline = Deadline(self._settings.call_timeout if message.timeout is None else message.timeout)
        size = self._services.backlog.weigh(message.raw)
        self._services.dispatch(None, size, self._perform, handlers[-1], message, deadline, link)

    def _perform(self, handler: Subscription, message: CallMessage, deadline: Deadline, link: int) -> None:
        if not handler.active:
            # It was unsubscribed while the call waited for a worker: the one registered before it answers.
            return self.receive_call(message, link)
        # As `Subscription._invoke`, with the span inside of the context: that may be where a tracer keeps it.
        run = handler.context.copy().run
        if self._services.surroundings is None:
            run(self._answer, handler, message, deadline, link)
        else:
            run(self._answer_within, self._services.surroundings, handler, message, deadline, link)
        return None

    def _answer_within(
        self, surroundings: HandlerContext, handler: Subscription, message: CallMessage, deadline: Deadline, link: int
    ) -> None:
        entered = False
        try:
            with surroundings():
                entered = True
                self._answer(handler, message, deadline, link)
        except BaseException as error:
            answer = self._handler_failed(message, error, None)
            if not entered and message.id is not None:
                self._services.reply(answer, link)

    def _answer(self, handler: Subscription, message: CallMessage, deadline: Deadline, link: int) -> None:
        hooks = self._services.hooks
        span = hooks.start("perform", message.method, message) if hooks.instruments else None
        try:
            try:
                result = handler.handler(*message.payload)
            except BaseException as error:
                answer = self._handler_failed(message, error, span)
            else:
                answer = Message(MessageType.RESULT, result, message.id)
            if deadline.expired():
                # The peer has given the call up: an answer would be one for an unknown call there.
                self._services.counters.count("dropped")
                if span is not None:
                    span.status = LATE
            elif message.id is not None:
                self._reply(message, answer, link, span)
        finally:
            if span is not None:
                span.end()

    def _reply(self, message: CallMessage, answer: Message, link: int, span: Span | None) -> None:
        fork.ensure_process()  # a handler may fork: its child answers nothing on the parent's link
        try:
            self._services.reply(answer, link)
        except SocketMessageError as error:  # the result cannot be sent as JSON, or is too large: say so
            if isinstance(error, SocketMessageMalformed):
                # The encoder knows the id of the call alone, which the author of the handler never saw.
                cause = error.__cause__
                what = f"the result of {message.method!r} cannot be sent as JSON"
                text = safe_str(error) if cause is None else misfit_text(cause, answer.payload, "result")
                error = SocketMessageMalformed(f"{what}: {text}")
                error.__cause__ = cause
            self._services.reply(self._handler_failed(message, error, span), link)

    def _handler_failed(self, message: CallMessage, error: BaseException, span: Span | None) -> Message:
        """Report what a handler raised, and return the answer."""
        if isinstance(error, _Refused):
            error = error.refusal  # without a traceback, which would show frames of ours alone
        self._services.report(error, ErrorContext("perform", message.method, message))
        if span is not None:
            span.error = error
        return self._make_error(message, error)

    def _make_error(self, message: Message, error: BaseException) -> Message:
        # Without its traceback, unless asked for: files and lines of ours are none of the peer's business.
        stack = safe_str(error, _format_traceback) if self._settings.expose_tracebacks else None
        return Message(MessageType.ERROR, marshal_for_peer(error, stack), message.id)

    def refuse(self, message: Message, error: BaseException, link: int) -> None:
        """Answer a call that cannot be performed, where it has an id; on a worker, since the reader must not send."""
        if message.id is not None:
            answer = self._make_error(message, error)
            self._services.dispatch(None, max(1, len(message.raw or "")), self._services.reply, answer, link)


def _format_traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def check_stage(stage: AuthenticationStage | None) -> None:
    """Raise `ValueError` unless this is a stage that authentication can reach, or ``None``."""
    if stage is not None and stage not in REACHABLE_STAGES:
        raise ValueError(f"stage must be a stage of authentication that can be reached, not {stage!r}")
