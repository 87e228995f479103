"""``connect()``: a `Connection` over a supervised link."""

from __future__ import annotations

import itertools
import ssl
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial

from .connection import Connection
from .deadline import Deadline, check_timeout
from .errors import InsecureTransportWarning, SocketConnectionError, SocketTimeout
from .options import Backoff, Heartbeat, Limits
from .protocol.messages import CALL_TIMEOUT
from .runtime.link import Link
from .runtime.standing import Hooks
from .runtime.supervisor import Supervisor
from .runtime.workers import WorkerPool
from .transport.dial import default_context, dial, parse_proxy, proxy_for
from .transport.wire import Wire
from .urls import Target, bare_token, check_headers, parse, redact, whole_token

Text = str | Callable[[], str]
Auth = Callable[[Connection], object]

CONNECT_GRACE = 0.25

_numbers = itertools.count(1)


def connect(
    url: Text,
    *,
    token: Text | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: Auth | None = None,
    timeout: float = 10.0,
    call_timeout: float = CALL_TIMEOUT,
    heartbeat: Heartbeat | None = Heartbeat(),
    reconnect: Backoff | None = Backoff(),
    limits: Limits = Limits(),
    workers: int = 4,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | None = None,
    token_in: Collection[str] = ("query", "header"),
    sender: str | None = None,
    name: str | None = None,
    wait: bool = True,
) -> Connection:
    """Connect to an OwlMeans server; from any thread.

    Args:
        url: ``ws://…`` or ``wss://…``, or a callable that gives one; asked anew for every attempt.
        token: who speaks: an envelope, with or without ``ED25519-BASIC-TOKEN`` before it, or a callable that gives
            one; asked anew for every attempt.
        query: added to the query of the URL.
        headers: sent with the upgrade request.
        auth: called with the connection on every new link, before anything else leaves; what it raises ends that link.
        timeout: seconds for one attempt: DNS, TCP, proxy, TLS, upgrade and ``auth`` together.
        call_timeout: seconds that a call waits for its answer when it does not say.
        heartbeat: when to ask a silent peer for a sign of life; ``None`` never.
        reconnect: how long to wait between attempts after a link was lost; ``None`` does not reconnect.
        limits: how much may pile up.
        workers: how many handlers run at once; one that waits for an answer does not count.
        ssl_context: for ``wss://``; the default trusts the authorities of this machine.
        proxy: ``"http://[user:password@]host:port"``, ``"env"`` for the one of the environment, ``None`` for none.
        token_in: where the token travels: ``"query"`` (bare) and ``"header"`` (whole, as ``Authorization``).
        sender: named in each message as the one who speaks.
        name: what logs call the connection.
        wait: return once the connection has been open, even if it ended since; ``False`` returns at once, connects
            behind, and keeps trying.

    Raises:
        ValueError: an option cannot be used; the message names it.
        SocketTimeout: no connection within the timeout.
        SocketUnauthorized: the server refuses who we are.
        SocketConnectionError: the server cannot be reached, or refuses.
    """
    _check_options(heartbeat, reconnect, limits, workers, auth)
    check_timeout(timeout)
    name = name or f"owlsocket-{next(_numbers)}"
    dialler = _Dialler(url, token, query, headers, ssl_context, proxy, token_in, heartbeat, limits)
    pool = WorkerPool(workers, name)
    supervisor = Supervisor(
        dialler, pool, backoff=reconnect, timeout=timeout, patient=not wait, name=name, address=lambda: dialler.shown
    )
    connection = Connection(
        supervisor,
        pool.submit,
        pool.lend_place,
        pool.settle,
        name=name,
        limits=limits,
        call_timeout=call_timeout,
        sender=sender,
        stamp=True,
    )
    dialler.connection = connection
    supervisor.start(_hooks(connection, auth))
    if wait:
        _wait_until_open(connection, supervisor, timeout)
    return connection


def _check_options(heartbeat: object, reconnect: object, limits: object, workers: object, auth: object) -> None:
    if not (heartbeat is None or isinstance(heartbeat, Heartbeat)):
        raise ValueError(f"heartbeat must be a Heartbeat or None, not {heartbeat!r}")
    if not (reconnect is None or isinstance(reconnect, Backoff)):
        raise ValueError(f"reconnect must be a Backoff or None, not {reconnect!r}")
    if not isinstance(limits, Limits):
        raise ValueError(f"limits must be Limits, not {limits!r}")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number, 1 or more, not {workers!r}")
    if not (auth is None or callable(auth)):
        raise ValueError(f"auth must be callable, not {type(auth).__name__}")


def _hooks(connection: Connection, auth: Auth | None) -> Hooks:
    return Hooks(
        opened=connection._link_opened,
        lost=connection._link_lost,
        over=connection._over,
        moved=connection._tell_state,
        discarded=partial(connection._count, "dropped"),
        tick=connection.expire,
        authenticate=None if auth is None else partial(auth, connection),
        renew=connection._renew_after_fork,
    )


def _wait_until_open(connection: Connection, supervisor: Supervisor, timeout: float) -> None:
    try:
        supervisor.wait_open(Deadline(timeout + CONNECT_GRACE))
    except SocketTimeout:
        connection.close(timeout=0.0)
        raise SocketTimeout(f"no connection to {connection.url} within {timeout:g} s") from None
    except SocketConnectionError:
        if supervisor.was_open:
            return
        if supervisor.failure is not None:
            raise supervisor.failure from None
        raise
    except BaseException:
        connection.close(timeout=0.0)
        raise


class _Dialler:
    """Makes a link to wherever ``url`` and ``token`` lead at that moment."""

    connection: Connection

    def __init__(
        self,
        url: Text,
        token: Text | None,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
        token_in: Collection[str],
        heartbeat: Heartbeat | None,
        limits: Limits,
    ) -> None:
        if isinstance(token_in, str) or not set(token_in) <= {"query", "header"}:
            raise ValueError(f"token_in must hold 'query', 'header' or both, not {token_in!r}")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise ValueError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        if proxy is not None and proxy != "env":
            parse_proxy(proxy)
        self._url = url
        self._token = token
        self._query = {str(key): str(value) for key, value in (query or {}).items()}
        self._headers = check_headers(headers or {})
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._token_in = frozenset(token_in)
        self._heartbeat = heartbeat
        self._limits = limits
        self.shown = "?" if callable(url) else redact(self._target(url, None).url)
        self._known = not callable(url) and not callable(token)
        if not callable(url) and not callable(token):
            _warn_of_clear_text(self._target(url, token), token, stacklevel=4)

    def __call__(self, deadline: Deadline, wanted: Callable[[], bool], number: int) -> Link:
        """One attempt."""
        url = self._url() if callable(self._url) else self._url
        token = self._token() if callable(self._token) else self._token
        target = self._target(url, token)
        self.shown = redact(target.url)
        if not self._known:
            _warn_of_clear_text(target, token, stacklevel=2)
        if target.secure and self._ssl_context is None:
            self._ssl_context = default_context()
        expire = self.connection.expire

        def still_wanted() -> bool:
            expire(time.monotonic())
            return wanted()

        stream = dial(target, deadline, self._ssl_context, proxy_for(target, self._proxy), still_wanted)
        wire = Wire(stream, self._limits.message_size)
        try:
            wire.upgrade(target, self._all_headers(token), deadline.at, still_wanted)
        except TimeoutError as error:
            stream.close()
            raise SocketTimeout(f"{self.shown} did not answer the upgrade within {deadline.seconds:g} s") from error
        except OSError as error:
            stream.close()
            if isinstance(error, SocketConnectionError):
                raise
            raise SocketConnectionError(f"{self.shown} broke off during the upgrade: {error}") from error
        except BaseException:
            stream.close()
            raise
        receive = self.connection.receive
        return Link(
            wire,
            deliver=lambda text: receive(text, number),
            has_room=self.connection._has_room,
            tick=self.connection.expire,
            heartbeat=self._heartbeat,
        )

    def _target(self, url: str, token: str | None) -> Target:
        if token is None or "query" not in self._token_in:
            return parse(url, self._query)
        return parse(url, self._query, bare_token(token))

    def _all_headers(self, token: str | None) -> dict[str, str]:
        if token is None or "header" not in self._token_in:
            return self._headers
        return {**check_headers({"Authorization": whole_token(token)}, "token"), **self._headers}


def _warn_of_clear_text(target: Target, token: str | None, stacklevel: int) -> None:
    if token is not None and not target.secure and not target.loopback:
        warnings.warn(
            f"the token travels in the clear to {target.host}; use wss://",
            InsecureTransportWarning,
            stacklevel=stacklevel,
        )
