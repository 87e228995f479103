"""Authentication in stages: ``auth``, ``authenticate`` and ``stage``, over the message ``auth``.

The message has no id, so order is all there is: one exchange of ours at a time, and what comes in while it is open is
its answer. Two ends that both took answers for questions would answer each other for ever; hence three rules:
a refusal (no stage) is never answered, nothing is answered while an exchange of ours is open, and an answer that comes
after its exchange timed out is passed over rather than answered.

Threads: ``_exchange_lock`` is held by the thread whose exchange is open, for as long as it waits, always with a
deadline; ``_auth_lock`` guards the fields and is a leaf.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from ..deadline import Deadline
from ..errors import AuthError, ResilientError, SocketTimeout, SocketUnauthorized, SocketUnsupported
from ..stages import AuthenticationStage
from .codec import malformed
from .endpoint import Endpoint, ErrorContext
from .messages import AuthMessage, MessageType

Stage = AuthenticationStage | str
Authenticate = Callable[[Stage, Any], tuple[Stage | None, Any]]


class Auth(Endpoint):
    """Take the steps of authentication, and answer those of the peer.

    Attributes:
        stage: where authentication stands; ``None`` before its first step.
        authenticate: a hook ``(stage, payload) -> (stage or None, response)`` that answers the peer's steps, on a
            worker. A stage of ``None`` sends no answer; what it raises is sent as a refusal. Without a hook every
            step is refused.
        auth_info: who the peer is, as whoever guards this end verified it; ``None`` for nobody in particular.
    """

    stage: Stage | None = None
    auth_info: Any = None
    authenticate: Authenticate | None = None

    def __init__(self) -> None:
        self._exchange_lock = threading.Lock()
        self._auth_lock = threading.Lock()
        self._exchange: Future[Any] | None = None
        self._late_answers = 0

    def auth(self, stage: Stage, payload: Any = None, timeout: float | None = None) -> Any:
        """Take one step of authentication, and wait for what the peer answers.

        ``stage`` becomes what was asked for, then what the peer answers. A second thread waits for its turn.

        Args:
            stage: an `AuthenticationStage`, or its wire spelling.
            payload: what the step carries.
            timeout: seconds; ``None`` for ``default_call_timeout``.

        Raises:
            ResilientError: the refusal that the peer marshalled; `AuthError` when it gave no reason.
            SocketTimeout: no answer, or no turn, within the timeout.
            SocketConnectionError: the link was lost, or the connection is closed.
        """
        if not isinstance(stage, str) or not stage:
            raise TypeError(f"stage must be an AuthenticationStage or its spelling, not {stage!r}")
        stage = AuthenticationStage.read(stage)
        deadline = self._budget(timeout)
        with self._waiting(deadline):
            mine = self._exchange_lock.acquire(timeout=_lock_seconds(deadline))
        if not mine:
            raise SocketTimeout(f"auth {_spelling(stage)!r}: another exchange took all of {deadline.seconds:g} s")
        try:
            return self._take_step(AuthMessage(MessageType.AUTH, payload, stage=stage), deadline)
        finally:
            self._exchange_lock.release()

    def _take_step(self, question: AuthMessage, deadline: Deadline) -> Any:
        answer: Future[Any] = Future()
        with self._auth_lock:
            self._exchange = answer
        try:
            self.stage = question.stage
            self._send(question, deadline)
            with self._waiting(deadline):
                return answer.result(deadline.wait_seconds())
        except FutureTimeoutError:
            if answer.done():
                return answer.result()
            with self._auth_lock:
                self._late_answers += 1
            raise SocketTimeout(
                f"auth {_spelling(question.stage)!r} was not answered within {deadline.seconds:g} s"
            ) from None
        finally:
            with self._auth_lock:
                self._exchange = None

    def _receive_auth(self, message: AuthMessage, link: int) -> None:
        with self._auth_lock:
            answer, self._exchange = self._exchange, None
            late = answer is None and self._late_answers > 0
            if late:
                self._late_answers -= 1
        if answer is not None:
            self._accept_answer(message, answer)
        elif late or message.stage is None:
            self._count("unmatched")
            what = "an auth answer that nobody waits for any more" if late else "a refusal that nobody asked for"
            shown = "" if late else message.raw or ""  # an answer may hold a token
            self._report(malformed(what, shown), ErrorContext("receive", "auth", message))
        else:
            self._submit("auth", len(message.raw or ""), self._answer_step, message, link)

    def _accept_answer(self, message: AuthMessage, answer: Future[Any]) -> None:
        if message.stage is None:
            answer.set_exception(read_refusal(message.payload))
        else:
            self.stage = message.stage
            answer.set_result(message.payload)

    def _answer_step(self, message: AuthMessage, link: int) -> None:
        hook, before = self.authenticate, self.stage
        try:
            if hook is None:
                raise SocketUnsupported("no authenticate hook is set here")
            stage, response = hook(message.stage or "", message.payload)
            if stage is None:
                return
            self.stage = AuthenticationStage.read(stage)  # before the peer knows: its next call may be here at once
            self._answer(AuthMessage(MessageType.AUTH, response, stage=self.stage), link)
        except BaseException as error:
            self.stage = before
            self._report(error, ErrorContext("authenticate", _spelling(message.stage), message))
            ensured = ResilientError.ensure(error)
            text = ResilientError(ensured.type, ensured.message).marshal()
            self._answer(AuthMessage(MessageType.AUTH, text, stage=None), link)

    def _fail_auth(self, error: Callable[[], Exception]) -> None:
        """The link is lost, and with it who we were on it."""
        with self._auth_lock:
            answer, self._exchange = self._exchange, None
            self._late_answers = 0
        self.stage = self.auth_info = None
        if answer is not None:
            answer.set_exception(error())

    def _require_stage(self, stage: AuthenticationStage, what: str) -> None:
        if not stage.reached_at(self.stage):
            here = "before any authentication" if self.stage is None else f"at {_spelling(self.stage)!r}"
            raise SocketUnauthorized(f"{what} is for those who are {stage.value!r}; this connection is {here}")

    def _renew_auth(self) -> None:
        self._exchange_lock, self._auth_lock = threading.Lock(), threading.Lock()
        self._exchange, self._late_answers, self.stage = None, 0, None


def read_refusal(payload: Any) -> ResilientError:
    """The error in a refusal; the reference loses its reason on the way and sends ``{}``."""
    if isinstance(payload, str) and payload:
        return ResilientError.unmarshal(payload)
    if isinstance(payload, dict) and isinstance(payload.get("message"), str):
        return AuthError(f"refused: {payload['message']}")
    return AuthError("refused, without a reason")


def _spelling(stage: Stage | None) -> str:
    return stage.value if isinstance(stage, AuthenticationStage) else str(stage)


def _lock_seconds(deadline: Deadline) -> float:
    return min(deadline.remaining(), threading.TIMEOUT_MAX)
