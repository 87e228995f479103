"""Authentication in stages: ``auth``, ``authenticate`` and ``stage``, over the message ``auth``.

The message has no id, so order is all there is: one exchange of ours at a time, and what comes in while it is open is
its answer. Two ends that both took answers for questions would answer each other without end; hence three rules:
a refusal (no stage) is never answered, nothing is answered while an exchange of ours is open, and an answer that comes
after its exchange timed out is dropped rather than answered. That answer is expected for `STALE_SECONDS`, and no
exchange of ours begins before it came or this time is over: so each message belongs to one exchange.

An answer to a step of ours proves nothing about the peer: it names the stage itself. So at the end of a server, what
``perform(stage=)`` requires is granted by the hook ``authenticate`` and the guard alone. Stages and identities belong
to a link, and end with it.

Threads: the condition ``_exchanges`` guards the open exchange and whose turn it is, and is a leaf. A thread waits on it
for its turn, and on the future of its exchange for the answer, both under its deadline.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import (
    AuthError,
    ResilientError,
    SocketError,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
    marshal_for_peer,
)
from ..errors.marshalled import unsent
from ..locks import MAX_WAIT, Condition
from ..states import REACHABLE_STAGES, AuthenticationStage
from .calls import BlockingCall
from .malformed import malformed
from .messages import AuthMessage, MessageType
from .reports import ErrorContext
from .services import Services
from .settings import Settings, Stage
from .subscriptions import run_isolated

STALE_SECONDS = 2.0
"""The time after the end of an exchange without an answer in which the answer may still come."""


class LateAnswer:
    """The answer to an exchange that ended without it; under the lock of the exchanges.

    Args:
        clock: returns monotonic seconds.
    """

    __slots__ = ("_asked", "_clock", "_until")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._asked: Stage | None = None
        self._until = -math.inf

    def expect(self, asked: Stage | None) -> None:
        """Expect it from now on, for the question with this stage."""
        self._asked, self._until = asked, self._clock() + STALE_SECONDS

    def forget(self) -> None:
        """Expect it no longer."""
        self._until = -math.inf

    def seconds(self) -> float:
        """Return for how long it is still expected; 0 if it is not."""
        return max(0.0, self._until - self._clock())

    def may_be(self, stage: Stage | None) -> bool:
        """Return whether it can have this stage: no answer leads back to before its question."""
        order = REACHABLE_STAGES
        return stage not in order or self._asked not in order or order.index(stage) >= order.index(self._asked)


class Authentication:
    """Steps of authentication, ours and those of the peer.

    Args:
        services: what the connection offers.
        settings: with the ``authenticate`` hook.
        accepted: whether this is the end of a server, to which the peer connected.

    Attributes:
        auth_info: as of `owlsocket_sync.Connection`.
    """

    __slots__ = (
        "_accepted", "_exchange", "_exchange_lock", "_exchanges", "_granted", "_late_answer", "_lost_link",
        "_services", "_settings", "_stage", "_taken", "_taker", "auth_info",
    )  # fmt: skip

    def __init__(self, services: Services, settings: Settings, *, accepted: bool = False) -> None:
        self._services = services
        self._settings = settings
        lock = services.make_lock()
        self._exchanges = Condition(lock)
        # For `with`: that of a condition runs Python code with the lock, in which an interrupt would leave it locked.
        # Reentrant: an interrupt of a wait, which has released it, must not release it for another thread.
        self._exchange_lock = lock
        self._taken = False
        self._taker: int | None = None
        self._exchange: BlockingCall | None = None
        self._late_answer = LateAnswer()
        self._accepted = accepted
        self._lost_link: float = -1
        self._stage: Stage | None = AuthenticationStage.INIT
        self._granted: Stage | None = AuthenticationStage.INIT
        self.auth_info: Any = None

    @property
    def stage(self) -> Stage | None:
        """The stage, as of `owlsocket_sync.Connection`; to set it grants it to the peer."""
        return self._stage

    @stage.setter
    def stage(self, stage: Stage | None) -> None:
        self._stage = self._granted = stage

    @property
    def is_exchanging(self) -> bool:
        """Return whether an answer is waited for."""
        return self._exchange is not None

    def auth(self, stage: Stage, payload: Any, timeout: float | None) -> Any:
        """Take one step, and wait for the answer; see `owlsocket_sync.Connection.auth`."""
        if not isinstance(stage, str) or not stage:
            raise TypeError(f"stage must be an AuthenticationStage or its spelling, not {stage!r}")
        stage = AuthenticationStage.parse(stage)
        deadline = self._services.deadline_for(timeout)
        is_mine, me = False, threading.get_ident()
        try:
            with self._services.blocking_wait(deadline), self._exchange_lock:
                if self._taken and self._taker == me:
                    raise SocketError(
                        f"auth {_wire_value(stage)!r} was called by a signal handler or a finalizer, within another "
                        "authentication of its thread, which it would wait for; authenticate on another thread"
                    )
                self._await_turn(stage, deadline)
                # No call in between, and so no interrupt: who takes the turn gives it back.
                is_mine, self._taken, self._taker = True, True, me
            return self._take_step(AuthMessage(MessageType.AUTH, payload, stage=stage), deadline)
        finally:
            if is_mine:
                self._taken = False  # without the lock: to take that may be interrupted
                with self._exchange_lock:
                    # All: the first of them may give up, and would tell no other one.
                    self._exchanges.notify_all()

    def _await_turn(self, stage: Stage, deadline: Deadline) -> None:
        """Wait until no other exchange runs, and no answer to an earlier one may come; with the lock."""
        while True:
            late = self._late_answer.seconds()
            if not self._taken and not late:
                return
            if deadline.expired():
                what = "another authentication to finish" if self._taken else "the late answer to an earlier one"
                step = f"auth {_wire_value(stage)!r}"
                raise unsent(SocketTimeout(f"{step} timed out after {deadline.seconds:g} s waiting for {what}"))
            # It looks again once it is registered: a signal handler may have waited, or authenticated, before.
            before = self._taken, late > 0
            self._exchanges.wait_for(
                lambda before=before: (self._taken, self._late_answer.seconds() > 0) != before,  # type: ignore[misc]
                min(deadline.remaining(), late or MAX_WAIT),
            )

    def _take_step(self, question: AuthMessage, deadline: Deadline) -> Any:
        answer = BlockingCall()
        with self._exchange_lock:
            self._exchange = answer
            before, lost_link = self._stage, self._lost_link
            self._stage = question.stage
        try:
            return self._await_answer(question, answer, deadline)
        except BaseException as error:
            with self._exchange_lock:
                # Not after the end of the link: the stage of that link must not come back on the next one.
                # Nor if a step of the peer, which had begun before, has set another stage meanwhile.
                if lost_link == self._lost_link and self._stage is question.stage:
                    self._stage = before
                # Neither answered nor lost, but given up, by an interrupt too: without an id, the next auth message is
                # the late answer, and must not be taken for a question.
                if self._exchange is answer and getattr(error, "sent", None) is not False:
                    self._late_answer.expect(question.stage)
            raise
        finally:
            with self._exchange_lock:
                self._exchange = None

    def _await_answer(self, question: AuthMessage, answer: BlockingCall, deadline: Deadline) -> Any:
        self._services.send(question, deadline)
        try:
            with self._services.blocking_wait(deadline):
                if answer.wait(deadline):
                    return answer.outcome()
        except ResilientError as error:  # a refusal, or the loss of the link
            error.sent = True
            raise
        timeout = SocketTimeout(f"auth {_wire_value(question.stage)!r} was not answered within {deadline.seconds:g} s")
        timeout.sent = True
        raise timeout

    def receive_auth(self, message: AuthMessage, link: int) -> None:
        """Take in an auth message that arrived on this link."""
        with self._exchange_lock:
            # A hook may have held the message up until its link was lost: it says nothing about the next link.
            is_stale = link <= self._lost_link
            answer = None
            if not is_stale and self._exchange is not None:
                answer, self._exchange = self._exchange, None
            elif not is_stale and self._late_answer.seconds():
                # It came, or it comes no more: the peer asks, and had answered before.
                is_stale = self._late_answer.may_be(message.stage)
                self._late_answer.forget()
                self._exchanges.notify_all()
        if answer is not None:
            self._complete_exchange(message, answer, link)
        elif is_stale or message.stage is None:
            self._services.counters.count("unmatched")
            what = "an auth answer after its timeout" if is_stale else "a refusal without an auth exchange"
            shown = "" if is_stale else message.raw or ""  # an answer may hold a token
            self._services.report(malformed(what, shown), ErrorContext("receive", "auth", message))
        else:
            self._services.dispatch("auth", self._services.backlog.weigh(message.raw), self._answer_step, message, link)

    def _complete_exchange(self, message: AuthMessage, answer: BlockingCall, link: int) -> None:
        if message.stage is None:
            answer.complete(error=read_refusal(message.payload))
        else:
            # Not granted: the peer named the stage itself.
            self._restore(link, (message.stage, self._granted, self.auth_info))
            answer.complete(message.payload)

    def _answer_step(self, message: AuthMessage, link: int) -> None:
        hook = self._settings.authenticate
        if hook is None and not self._accepted:
            # As the client of the reference: a refusal that is not expected ends the authentication of its server.
            self._services.counters.count("unmatched")
            error = SocketUnsupported("an auth message was not answered: no authenticate hook is set here")
            self._services.report(error, ErrorContext("authenticate", _wire_value(message.stage), message))
            return
        # After a refused first step the stage is None, as in the reference; what was granted before stays.
        stage_before = None if self._stage is AuthenticationStage.INIT else self._stage
        before = stage_before, self._granted, self.auth_info
        try:
            if hook is None:
                raise SocketUnsupported("no authenticate hook is set here")
            context, surroundings = self._settings.authenticate_context.copy(), self._services.surroundings
            stage, response = run_isolated(context, surroundings, hook, message.stage or "", message.payload)
            if stage is None:
                return
            # Before the peer knows: its next call may be here at once.
            reached = AuthenticationStage.parse(stage)
            self._restore(link, (reached, reached, self.auth_info))
            self._services.reply(AuthMessage(MessageType.AUTH, response, stage=reached), link)
        except BaseException as error:
            self._restore(link, before)
            self._services.report(error, ErrorContext("authenticate", _wire_value(message.stage), message))
            self._services.reply(AuthMessage(MessageType.AUTH, marshal_for_peer(error), stage=None), link)

    def _restore(self, link: int, state: tuple[Stage | None, Stage | None, Any]) -> None:
        """Set the stages and the identity, unless the link on which they were reached is lost."""
        with self._exchange_lock:
            if link > self._lost_link:
                self._stage, self._granted, self.auth_info = state

    def fail(self, error: Callable[[], Exception], link: float = math.inf) -> None:
        """Fail the open exchange: the link is lost, and with it who both ends were there."""
        with self._exchange_lock:
            answer, self._exchange = self._exchange, None
            self._late_answer.forget()
            self._exchanges.notify_all()
            self._lost_link = max(link, self._lost_link)
            # In one step with the number of the link: an exchange that ends now must not restore what it found.
            self.stage, self.auth_info = AuthenticationStage.INIT, None
        if answer is not None:
            answer.complete(error=error())

    def require_stage(self, stage: AuthenticationStage, what: str) -> None:
        """Raise `SocketUnauthorized` unless the peer has authenticated so far; ``what`` begins the message."""
        reached = self._granted if self._accepted else self._stage
        if not stage._is_reached_by(reached):
            current = "none" if reached is None else repr(_wire_value(reached))
            raise SocketUnauthorized(f"{what} requires stage {stage.value!r} (current stage: {current})")


def read_refusal(payload: Any) -> ResilientError:
    """Return the error in a refusal; the reference loses its reason on the way and sends ``{}``."""
    if isinstance(payload, str) and payload:
        return ResilientError.unmarshal(payload)
    if isinstance(payload, dict) and isinstance(payload.get("message"), str):
        return AuthError(f"refused: {payload['message']}")
    return AuthError("refused, without a reason")


def _wire_value(stage: Stage | None) -> str:
    return stage.value if isinstance(stage, AuthenticationStage) else str(stage)
