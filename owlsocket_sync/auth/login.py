"""Logging in over HTTP with a key, as often as a connection needs it.

Three steps lead to a token: ``/authentication/init`` gives a challenge, ``/authentication/authenticate`` a one-time
token for its signature, and ``/authenticate``, of the service itself, a bearer token for that one.

Threads: ``_login_lock`` is held through a login, so that those who need a token at the same time get one login, and is
waited for under a deadline. HTTP runs on a thread of its own, which changes nothing here.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..deadline import Deadline, check_timeout
from ..errors import AuthError, AuthMalformed, InsecureTransportWarning, LoginTimeout, SocketTimeout
from ..runtime.aside import SLICE, always, run_aside
from ..runtime.process import PerProcess
from ..urls import bare_token, is_loopback, parse_base, whole_token
from .envelope import Envelope
from .exchange import Answer, ask, new_session, told
from .keys import KeyPair
from .proof import Claim, key_pair
from .words import ALL_SCOPES, AuthRole

if TYPE_CHECKING:
    import requests

    from .models import Auth

logger = logging.getLogger("owlsocket_sync")

INIT, AUTHENTICATE, EXCHANGE = "/authentication/init", "/authentication/authenticate", "/authenticate"
MARGIN = 30.0
REFUSED = 400

Value = TypeVar("Value")


@dataclass(frozen=True)
class Bearer:
    """A bearer token, and what it tells of itself.

    Attributes:
        text: behind its scheme.
        written: when, in milliseconds since the epoch.
        ends: the last moment at which it holds, in seconds since the epoch; ``math.inf`` when it names none.
        uses: how often it was handed out.
        by_login: whether a login gave it, rather than a header that came along with something else.
    """

    text: str
    written: float
    ends: float
    uses: int = 0
    by_login: bool = True

    def __repr__(self) -> str:
        return f"<Bearer until {self.ends}>"


class Login(PerProcess):
    """Logs in with a key; what ``connect(url, auth=Login(...))`` takes.

    Every new link gets a token. One that names its end is used until it is near it; one that names none is used for one
    link, for nobody can tell for how long it holds. A token that the server refuses is forgotten, and if it was not
    just made, a new one is tried at once. May be shared between threads and connections, and used after a fork.

    Args:
        base_url: of the service that authenticates, ``https://…``.
        key: the private key, as a `KeyPair` or as text.
        service_url: of the service that is to be used, where that is another one.
        session: a `requests.Session` to send with, for proxies, certificates or retries of your own.
        timeout: seconds for a whole login.
        scopes: what for.
        role: as what.
        user_id: who, where that is not the address of the key.
        source: through whom, where the server wants to know.
        margin: seconds before its end at which a token is not used any more.
        now: seconds since the epoch.

    Raises:
        ValueError: an option cannot be used; the message names it.
    """

    def __init__(
        self,
        base_url: str,
        key: KeyPair | str,
        service_url: str | None = None,
        session: requests.Session | None = None,
        timeout: float = 10.0,
        *,
        scopes: Sequence[str] = (ALL_SCOPES,),
        role: str = AuthRole.USER,
        user_id: str | None = None,
        source: str | None = None,
        margin: float = MARGIN,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.base_url = _base(base_url, "base_url")
        self.service_url = self.base_url if service_url is None else _base(service_url, "service_url")
        self._claim = Claim(key_pair(key), user_id, scopes, role, source)
        self._session = session
        self._timeout = check_timeout(timeout)
        self._margin = check_timeout(margin, "margin")
        self._now = now
        self._bearer: Bearer | None = None
        self._worked = False
        super().__init__()

    def _begin_here(self) -> None:
        self._login_lock = threading.Lock()

    def token(self, timeout: float | None = None, wanted: Callable[[], bool] = always, *, reuse: bool = False) -> str:
        """A token for a new link, behind its scheme; logs in where that is needed.

        Args:
            timeout: seconds, at most those of the constructor.
            wanted: asked now and then; false gives up.
            reuse: for a request rather than a link: a token that names no end may be used again.

        Raises:
            AuthError: the login was refused; ``step`` tells where.
            LoginTimeout: it took too long.
            SocketConnectionError: the server cannot be reached, or the token is not wanted any more.
        """
        deadline = Deadline(self._timeout if timeout is None else min(timeout, self._timeout))
        with self._turn(deadline, wanted):
            if self._bearer is None or not self._usable(self._bearer, reuse):
                self._bearer = self._log_in(deadline, wanted)
                self._worked = True
            self._bearer = replace(self._bearer, uses=self._bearer.uses + 1)
            return self._bearer.text

    def refused(self, token: str) -> bool:
        """Forget a token that a server refused; true when a login did not just give it, so that another may help."""
        with self._turn(Deadline(self._timeout)):
            if self._bearer is None or self._bearer.text != whole_token(token):
                return False
            bearer, self._bearer = self._bearer, None
            return bearer.uses > 1 or not bearer.by_login

    def refresh(self, token: str) -> None:
        """Take a newer token, as servers send one in an ``auth-token-refresh`` header; an older one changes nothing."""
        try:
            bearer = replace(read_bearer(token), by_login=False)
        except AuthMalformed as error:
            logger.warning("a refreshed token was passed over: %s", error)
            return
        with self._turn(Deadline(self._timeout)):
            if self._bearer is None or bearer.written > self._bearer.written:
                self._bearer = bearer

    @property
    def auth(self) -> Auth | None:
        """Who the server says we are, by the token of the last login; ``None`` before, or when it does not say."""
        from .models import Auth

        bearer = self._bearer
        try:
            return None if bearer is None else Auth.from_dict(Envelope.untokenize(bare_token(bearer.text)).message())
        except AuthMalformed:
            return None

    def _usable(self, bearer: Bearer, reuse: bool) -> bool:
        if bearer.ends == math.inf:
            return reuse or bearer.uses == 0
        return self._now() < bearer.ends - self._margin

    @contextmanager
    def _turn(self, deadline: Deadline, wanted: Callable[[], bool] = always) -> Iterator[None]:
        """One at a time, and never longer than the deadline."""
        self._arrive()
        lock = self._login_lock
        while not lock.acquire(timeout=min(deadline.remaining(), SLICE)):
            if deadline.expired() or not wanted():
                raise LoginTimeout(f"another login took all of {deadline.seconds:g} s")
        try:
            yield
        finally:
            lock.release()

    def _log_in(self, deadline: Deadline, wanted: Callable[[], bool]) -> Bearer:
        walk = _Walk(self._claim, self.base_url, self.service_url, deadline)
        failure: AuthError
        try:
            bearer = run_aside(partial(walk.run, self._session), deadline, what="login", wanted=wanted)
        except SocketTimeout:
            failure = told(LoginTimeout(f"no answer within {deadline.seconds:g} s"), walk.step)
        except AuthError as error:
            failure = error
        else:
            logger.debug("logged in at %s as %s", self.base_url, self._claim.key.address)
            return bearer
        if isinstance(failure, LoginTimeout):
            failure.retryable = self._worked  # what worked before may work again; what never did may be misconfigured
        raise failure

    def __repr__(self) -> str:
        return f"<Login {self._claim.key.address} at {self.base_url}>"


class _Walk:
    """One walk through the three steps."""

    def __init__(self, claim: Claim, base_url: str, service_url: str, deadline: Deadline) -> None:
        self.step = INIT
        self._claim = claim
        self._base_url = base_url
        self._service_url = service_url
        self._deadline = deadline

    def run(self, session: requests.Session | None) -> Bearer:
        """All of it; a session of our own is closed afterwards."""
        with new_session() if session is None else nullcontext(session) as open_session:
            try:
                one_time = self._prove(open_session)
            except AuthError as error:
                if error.step != AUTHENTICATE or (error.status or 0) < REFUSED:
                    raise
                one_time = self._prove(open_session)  # the failure burnt the challenge: from the beginning, once
            answer = self._ask(open_session, self._service_url, EXCHANGE, {"token": one_time})
            bearer = self._read(answer, "token", read_bearer)
            if answer.refreshed is not None:
                bearer = max(bearer, read_bearer(answer.refreshed), key=lambda one: one.written)
            return bearer

    def _prove(self, session: requests.Session) -> str:
        """A one-time token, for a signature."""
        answer = self._ask(session, self._base_url, INIT, self._claim.ask())
        credentials = self._read(answer, "challenge", self._claim.answer)
        answer = self._ask(session, self._base_url, AUTHENTICATE, credentials)
        return self._read(answer, "token", _plain_text)

    def _ask(self, session: requests.Session, base: str, step: str, question: dict[str, Any]) -> Answer:
        self.step = step
        return ask(session, base, step, question, self._deadline)

    def _read(self, answer: Answer, name: str, read: Callable[[Any], Value]) -> Value:
        """A field of an answer, read; what is wrong with it is told with its step."""
        try:
            return read(answer.fields.get(name))
        except AuthError as error:
            failure = error
        raise told(AuthMalformed(f"{name!r} in the answer: {failure.message.removeprefix(failure.prefix)}"), self.step)


def read_bearer(token: object) -> Bearer:
    """What a bearer token tells of itself, with or without its scheme; one that is no envelope tells nothing.

    Raises:
        AuthMalformed: it cannot travel as a token.
    """
    text = _plain_text(bare_token(token) if isinstance(token, str) else token)
    try:
        envelope = Envelope.untokenize(text)
    except AuthMalformed:
        return Bearer(whole_token(text), 0.0, math.inf)
    return Bearer(whole_token(text), envelope.dt, min(envelope.ends, _expires_at(envelope.message())))


def _expires_at(message: Any) -> float:
    """When what a token says of its owner ends, in seconds since the epoch."""
    from .dates import read_date

    text = message.get("expiresAt") if isinstance(message, dict) else None
    try:
        return math.inf if text is None else read_date(text, "expiresAt").timestamp()
    except AuthMalformed:
        return math.inf


def _plain_text(token: object) -> str:
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthMalformed("no token, but something else" if token else "missing")
    return token


def _base(url: str, option: str) -> str:
    base, host = parse_base(url, option)
    if base.startswith("http:") and not is_loopback(host):
        warnings.warn(f"a login travels in the clear to {host}; use https://", InsecureTransportWarning, stacklevel=3)
    return base
