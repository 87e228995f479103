"""Reports of errors that have no caller: to ``on_error`` handlers, and to the log where there is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import SocketConnectionError
from ..errors.safe_text import logger, safe_str
from ..values import escape_for_log, shorten_name
from .backlog import Backlog
from .counters import Counters
from .log_throttle import LogThrottle, omission
from .reports import ErrorContext
from .subscriptions import ALL, HandlerContext, Registry, Subscription

LANE = "error"
LOGGED_CHARACTERS = 4_000
MAX_CHAIN = 16


class ErrorReporter:
    """Reports what goes wrong in handlers and in incoming messages.

    Args:
        name: the name of the connection in logs.
        handlers: the ``on_error`` handlers.
        run: has a function run on a worker, in order within its lane; false when it will not run.
        backlog: where a report takes room until it was handled.
        counters: where a report that could not be handled counts.
        closing_error: returns a new error if the connection is closed, else ``None``.
        surroundings: returns the context manager inside which each handler runs; ``None`` for none.
    """

    __slots__ = ("_backlog", "_closing_error", "_counters", "_handlers", "_name", "_run", "_surroundings", "_throttle")

    def __init__(
        self,
        name: str,
        handlers: Registry[Callable[..., Any]],
        run: Callable[..., bool],
        backlog: Backlog,
        counters: Counters,
        closing_error: Callable[[], SocketConnectionError | None],
        surroundings: HandlerContext | None = None,
    ) -> None:
        self._name = name
        self._handlers = handlers
        self._run = run
        self._backlog = backlog
        self._counters = counters
        self._closing_error = closing_error
        self._surroundings = surroundings
        self._throttle = LogThrottle()

    def on_error(self, handler: Callable[[Exception, ErrorContext], Any]) -> Subscription:
        """Register a handler."""
        return self._handlers.add(ALL, handler, "error, context")

    def report(self, error: BaseException, context: ErrorContext, text: str | None = None) -> None:
        """Report an error; see `owlsocket_sync.protocol.reports.Report`."""
        if self._is_own_end(error):
            logger.debug("%s: %s ended with the connection", self._name, escape_for_log(str(context)))
            return
        if not self._handlers.get(ALL):
            self._log(error, context)
            return
        size = max(1, self._backlog.weigh(text if context.message is None else context.message.raw))
        self._backlog.take(size)
        if not self._run(LANE, self._notify, size, error, context):
            self._counters.count("dropped")
            self._backlog.release(size)

    def _is_own_end(self, error: BaseException) -> bool:
        """Return whether a handler failed only because this end closes the connection, or the process ends."""
        # The interpreter notes the end of its main thread first, whichever connection it closes first.
        exits = not threading.main_thread().is_alive()
        closing = self._closing_error()
        if not exits and (closing is None or not closing.closed_here):
            return False
        return any(
            isinstance(cause, SocketConnectionError) and (exits or cause.closed_here)
            for cause in _causes(error, implicit=exits)
        )

    def _notify(self, size: int, error: BaseException, context: ErrorContext) -> None:
        try:
            for subscription in self._handlers.get(ALL):
                if not subscription.active:
                    continue
                try:
                    subscription._invoke(self._surroundings, error, context)
                except BaseException as failure:
                    self._log_failure(failure, error, context)
        finally:
            self._backlog.release(size)

    def _log_failure(self, failure: BaseException, error: BaseException, context: ErrorContext) -> None:
        """Log that a handler failed, together with the error that it was to handle."""
        # Logged, not reported: a report would lead back to this handler.
        omitted = self._throttle.admit(("on_error", type(failure).__name__, *_kind(error, context)))
        if omitted is None:
            return
        _chain(failure, error)
        where, what, why = (escape_for_log(text) for text in (str(context), _text(failure), _text(error)))
        logger.error(
            "%s: an on_error handler failed at %s: %s; the error that it handled: %s%s",
            self._name,
            where,
            what,
            why,
            omission(omitted),
            exc_info=failure,
            extra=self._fields(failure, context),
        )

    def _log(self, error: BaseException, context: ErrorContext) -> None:
        omitted = self._throttle.admit(_kind(error, context))
        if omitted is None:
            return
        traceback = error if error.__traceback__ else None
        # Both may hold words of the peer, which must not break out of their line of the log.
        where, what = escape_for_log(str(context)), escape_for_log(_text(error))
        fields = self._fields(error, context)
        logger.error("%s: %s: %s%s", self._name, where, what, omission(omitted), exc_info=traceback, extra=fields)

    def _fields(self, error: BaseException, context: ErrorContext) -> dict[str, str]:
        return {
            "owlsocket_connection": self._name,
            "owlsocket_source": context.source,
            "owlsocket_name": shorten_name(context.name),
            "owlsocket_error": type(error).__name__,
        }

    def end(self, submit: Callable[..., object]) -> None:
        """Have a worker log how many errors were left out of the log, if there may be any."""
        # A handler that fails is logged, and may have yet to run. Where there is none, no thread starts for nothing.
        if self._throttle or self._handlers.get(ALL):
            submit(LANE, self._flush)

    def _flush(self) -> None:
        for kind, omitted in self._throttle.flush():
            label = escape_for_log(" ".join(kind)) if isinstance(kind, tuple) else "other errors"
            logger.error("%s: %s%s", self._name, label, omission(omitted))


def _kind(error: BaseException, context: ErrorContext) -> tuple[str, str, str]:
    # By the class of the error, not its text, which a peer may choose.
    return context.source, shorten_name(context.name), type(error).__name__


def _causes(error: BaseException, *, implicit: bool) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; ``implicit``: or while handling it, which may be a mistake."""
    following: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if following is None:
            return
        yield following
        following = following.__cause__ or (following.__context__ if implicit else None)


def _text(error: BaseException) -> str:
    return safe_str(error)[:LOGGED_CHARACTERS]


def _chain(failure: BaseException, error: BaseException) -> None:
    """Make an error the context of the failure to handle it, so that a traceback shows both."""
    last = failure
    # Bounded: a handler that raises the same object each time would make its chain longer each time.
    for _ in range(MAX_CHAIN):
        if last is error:
            return
        following = last.__cause__ or last.__context__ or error
        if last.__cause__ is None:
            # Also where it was hidden, by `raise … from None`.
            last.__context__, last.__suppress_context__ = following, False
        last = following
