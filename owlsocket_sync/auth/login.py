"""Login over HTTP with a key, repeated as often as a connection needs a token.

Three steps lead to a token: ``/authentication/init`` returns a challenge, ``/authentication/authenticate`` a one-time
token for its signature, and ``/authenticate``, of the service itself, a bearer token for the one-time token.

Threads: ``_login_lock`` is held during a login, so that all threads that need a token share one login. It is waited for
under a deadline. HTTP runs on a thread of its own, which takes no lock and changes nothing here.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..clock import wall_time
from ..deadline import Deadline, check_timeout
from ..errors import AuthError, AuthMalformed, InsecureTransportWarning, LoginTimeout, SocketTimeout
from ..errors.safe_text import logger
from ..fork import PerProcess
from ..runtime.run_with_deadline import POLL_INTERVAL, DeadlineRunner, always
from ..urls import is_loopback, parse_base, strip_token_scheme, with_token_scheme
from ..values import Secret
from .claims import Claim, to_key_pair
from .constants import ALL_SCOPES, AuthRole
from .envelope import Envelope
from .http_session import LoginSession, check_proxy
from .http_step import StepResponse, post_step, with_step
from .keys import KeyPair, hide

if TYPE_CHECKING:
    import requests

    from .models import Auth

INIT, AUTHENTICATE, EXCHANGE = "/authentication/init", "/authentication/authenticate", "/authenticate"
EXPIRY_MARGIN = 30.0
MIN_ERROR_STATUS = 400

Value = TypeVar("Value")


@dataclass(frozen=True)
class Bearer:
    """A bearer token, and the facts that can be read from it.

    Attributes:
        text: the token with its scheme.
        issued_at: milliseconds since the epoch; 0 if the token does not say.
        expires_at: seconds since the epoch; ``math.inf`` if the token does not say.
        uses: number of times it was handed out.
        from_login: whether it is the result of a login, rather than a refreshed token from a header.
    """

    text: Secret = field(repr=False)
    issued_at: float
    expires_at: float
    uses: int = 0
    from_login: bool = True


class Login:
    """Logs in with a key and supplies tokens; pass it as ``connect(url, auth=Login(...))``.

    Every new link gets a token. A token with an expiry is reused until shortly before it expires; a token without one
    is used for one link. A token that the server refuses is dropped; if it was not new, another login is tried at once.
    Threads and connections may share a login, also across a fork.

    Args:
        base_url: URL of the authentication service, ``https://…``.
        key: private key, as a `KeyPair` or as text.
        service_url: URL of the service to use, if it is a different one.
        session: `requests.Session` to send with, for certificates or retries of your own. By default, nothing is read
            from the environment: no proxy, and no password from ``.netrc``.
        timeout: seconds for a whole login.
        scopes: requested scopes.
        role: requested role.
        user_id: user ID, if it is not the address of the key.
        source: name of the client application, for servers that require it.
        margin: seconds before its expiry from which a token is not used any more.
        proxy: ``"http://[user:password@]host:port"``, ``"env"`` for the one of the environment, ``None`` for none.
        now: clock, seconds since the epoch.

    Raises:
        ValueError: an option is not valid; the message names it.
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
        margin: float = EXPIRY_MARGIN,
        proxy: str | None = None,
        now: Callable[[], float] = wall_time,
    ) -> None:
        key = hide(key)
        self.base_url = _parse_base_url(base_url, "base_url")
        self.service_url = self.base_url if service_url is None else _parse_base_url(service_url, "service_url")
        self._claim = Claim(to_key_pair(key), user_id, scopes, role, source)
        if session is not None and not callable(getattr(session, "post", None)):
            raise ValueError(f"session must be a requests.Session or None, not {type(session).__name__}")
        self._session = session
        self._proxy = check_proxy(proxy, session)
        self._timeout = check_timeout(timeout)
        self._margin = check_timeout(margin, "margin")
        self._now = now
        self._bearer: Bearer | None = None
        self._succeeded_before = False
        # New in each process: a thread of the parent may have held it at the fork. The token itself is kept.
        self._login_lock = PerProcess(threading.Lock)
        self._runner = PerProcess(DeadlineRunner)

    def token(
        self,
        timeout: float | None = None,
        should_continue: Callable[[], bool] = always,
        *,
        reuse: bool = False,
    ) -> str:
        """Return a token for a new link, with its scheme; log in if necessary. Any thread.

        Args:
            timeout: seconds, limited by the timeout of the constructor.
            should_continue: polled while waiting; false aborts the wait.
            reuse: for HTTP requests: also return a token without an expiry that was used before.

        Raises:
            AuthError: the login was refused; ``step`` names the step.
            LoginTimeout: the login timed out.
            SocketConnectionError: the service cannot be reached, or ``should_continue`` returned false.
        """
        deadline = Deadline(self._timeout if timeout is None else min(timeout, self._timeout))
        with self._exclusive(deadline, should_continue):
            # Decided under the lock: of several threads that need a token, the first logs in and the others reuse
            # the result.
            if self._bearer is None or not self._is_usable(self._bearer, reuse):
                self._bearer = self._log_in(deadline, should_continue)
                self._succeeded_before = True
            self._bearer = replace(self._bearer, uses=self._bearer.uses + 1)
            return self._bearer.text

    def refused(self, token: str) -> bool:
        """Drop a token that a server refused.

        Args:
            token: the token, with or without its scheme.

        Returns:
            Whether another token may help: false if a login just issued this one.
        """
        with self._exclusive(Deadline(self._timeout)):
            # Compared, because another thread may have replaced the token since the refused request was sent.
            if self._bearer is None or self._bearer.text != with_token_scheme(token):
                return False
            bearer, self._bearer = self._bearer, None
            # A server that refuses a brand-new token will refuse the next one too: no endless loop of logins.
            return bearer.uses > 1 or not bearer.from_login

    def refresh(self, token: str) -> None:
        """Take over a newer token, as servers send it in an ``auth-token-refresh`` header; ignore an older one."""
        try:
            bearer = replace(parse_bearer(token), from_login=False)
        except AuthMalformed as error:
            logger.warning("ignored a malformed refreshed token: %s", error)
            return
        with self._exclusive(Deadline(self._timeout)):
            # Responses may arrive out of order.
            if self._bearer is None or bearer.issued_at > self._bearer.issued_at:
                self._bearer = bearer

    @property
    def auth(self) -> Auth | None:
        """Our identity in the current token, not verified; ``None`` before a login, or if the token has none."""
        # Here, not above: dataclasses_json is slow to import, and most clients never ask.
        from .models import Auth

        # Without the lock: one read of a reference to a frozen value.
        bearer = self._bearer
        if bearer is None:
            return None
        try:
            return Auth.from_dict(Envelope.untokenize(strip_token_scheme(bearer.text)).message())
        except AuthMalformed:
            return None

    def _is_usable(self, bearer: Bearer, reuse: bool) -> bool:
        # The lifetime of a token without an expiry is unknown: a new link, which may last for days, gets a new one.
        if bearer.expires_at == math.inf:
            return reuse or bearer.uses == 0
        return self._now() < bearer.expires_at - self._margin

    @contextmanager
    def _exclusive(self, deadline: Deadline, should_continue: Callable[[], bool] = always) -> Iterator[None]:
        """Hold the login lock; wait for it until the deadline.

        Raises:
            LoginTimeout: another login took too long, or ``should_continue`` returned false.
        """
        lock = self._login_lock.get()
        # In slices: closing a connection must not wait until another thread's login is over.
        while not lock.acquire(timeout=min(deadline.remaining(), POLL_INTERVAL)):
            if deadline.expired() or not should_continue():
                raise LoginTimeout(
                    f"timed out after {deadline.seconds:g} s waiting for another authentication to finish"
                )
        try:
            yield
        finally:
            lock.release()

    def _log_in(self, deadline: Deadline, should_continue: Callable[[], bool]) -> Bearer:
        """Log in; the caller holds the login lock."""
        flow = _LoginFlow(self._claim, self.base_url, self.service_url, deadline)
        own = LoginSession(self._proxy) if self._session is None else None
        session = self._session or own
        assert session is not None
        failure: AuthError
        try:
            # On another thread: DNS, TLS and headers inside of requests know no deadline for the whole.
            bearer = self._runner.get().run(
                partial(flow.run, session), deadline, label="login", should_continue=should_continue
            )
        except SocketTimeout:
            failure = with_step(LoginTimeout(f"timed out after {deadline.seconds:g} s"), flow.step)
        except AuthError as error:
            failure = error
        else:
            logger.debug("logged in at %s as %s", self.base_url, self._claim.key.address)
            return bearer
        finally:
            # A server that sends a byte now and then would keep the thread, and its socket, past the deadline.
            if own is not None:
                own.close()
        # A login that worked before may work again: keep reconnecting. One that never did is probably misconfigured,
        # and a client that retries forever would hide it.
        if isinstance(failure, LoginTimeout):
            failure.retryable = self._succeeded_before
        # Outside of the except blocks: see post_step().
        raise failure

    def __repr__(self) -> str:
        return f"<Login {self._claim.key.address} at {self.base_url}>"


class _LoginFlow:
    """One pass through the three steps, on the HTTP thread.

    Attributes:
        step: path of the current step; also read by the waiting thread, for the error of a timeout.
    """

    def __init__(self, claim: Claim, base_url: str, service_url: str, deadline: Deadline) -> None:
        self.step = INIT
        self._claim = claim
        self._base_url = base_url
        self._service_url = service_url
        self._deadline = deadline

    def run(self, session: requests.Session) -> Bearer:
        """Run all steps."""
        try:
            one_time_token = self._get_one_time_token(session)
        except AuthError as error:
            asks_to_wait = error.retry_after is not None
            if error.step != AUTHENTICATE or (error.status or 0) < MIN_ERROR_STATUS or asks_to_wait:
                raise
            # A failed attempt burns the challenge, whatever the reason was: start again with a new one, once.
            one_time_token = self._get_one_time_token(session)
        response = self._post(session, self._service_url, EXCHANGE, {"token": one_time_token})
        bearer = self._parse_field(response, "token", parse_bearer)
        # The header may carry an even newer token than the body; on a tie the body's wins.
        if response.refreshed_token is not None:
            bearer = max(bearer, parse_bearer(response.refreshed_token), key=lambda candidate: candidate.issued_at)
        return bearer

    def _get_one_time_token(self, session: requests.Session) -> str:
        response = self._post(session, self._base_url, INIT, self._claim.init_request())
        credentials = self._parse_field(response, "challenge", self._claim.sign_challenge)
        response = self._post(session, self._base_url, AUTHENTICATE, credentials)
        return self._parse_field(response, "token", _check_token_text)

    def _post(self, session: requests.Session, base: str, step: str, body: dict[str, Any]) -> StepResponse:
        self.step = step
        return post_step(session, base, step, body, self._deadline)

    def _parse_field(self, response: StepResponse, name: str, parse: Callable[[Any], Value]) -> Value:
        """Return a parsed field of a response; errors name the field and the step."""
        try:
            return parse(response.fields.get(name))
        except AuthError as error:
            failure = error
        raise with_step(AuthMalformed(f"field {name!r} of the response: {failure.plain_message}"), self.step)


def parse_bearer(token: object) -> Bearer:
    """Read the facts of a bearer token, with or without its scheme; the signature is not verified.

    Raises:
        AuthMalformed: the value cannot be sent as a token.
    """
    text = _check_token_text(strip_token_scheme(token) if isinstance(token, str) else token)
    try:
        envelope = Envelope.untokenize(text)
    except AuthMalformed:
        # Services may issue tokens of another format, such as JWT: usable, but without known facts.
        return Bearer(with_token_scheme(text), 0.0, math.inf)
    expires_at = min(envelope.expires_at, _identity_expires_at(envelope.message()))
    return Bearer(with_token_scheme(text), envelope.dt, expires_at)


def _identity_expires_at(message: Any) -> float:
    """Return the expiry of the identity in a token, in seconds since the epoch; ``math.inf`` if there is none."""
    from .dates import parse_date

    text = message.get("expiresAt") if isinstance(message, dict) else None
    try:
        return math.inf if text is None else parse_date(text, "expiresAt").timestamp()
    except AuthMalformed:  # the server decides about its tokens; a date that only we cannot read refuses nothing
        return math.inf


def _check_token_text(token: object) -> str:
    # A token becomes a header and a URL parameter: line breaks would inject headers (RFC 9112, section 11.1).
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthMalformed("not a token" if token else "missing")
    return token


def _parse_base_url(url: str, option: str) -> str:
    base, host = parse_base(url, option)
    if base.startswith("http:") and not is_loopback(host):
        # stacklevel 3: the line of the user that constructs the Login.
        warnings.warn(f"login over unencrypted HTTP to {host}: use https://", InsecureTransportWarning, stacklevel=3)
    return base
