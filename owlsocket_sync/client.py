"""``connect()``: a `Connection` over a supervised link."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from .connection import Connection
from .deadline import Deadline, check_timeout
from .dialler import Dialler, Text, TokenSource
from .errors import SocketConnectionError, SocketTimeout
from .options import Backoff, Heartbeat, Limits
from .protocol.instruments import UNNAMED
from .protocol.messages import CALL_TIMEOUT
from .runtime.standing import Hooks
from .runtime.supervisor import Supervisor
from .runtime.workers import WorkerPool

Auth = Callable[[Connection], object]

CONNECT_GRACE = 0.25

_numbers = itertools.count(1)


def connect(
    url: Text,
    *,
    token: Text | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: Auth | TokenSource | None = None,
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
            Or an `owlsocket_sync.auth.Login`, which gives every new link its token.
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
        AuthError: the server, or a login, refuses and says why.
        SocketConnectionError: the server cannot be reached, or refuses.
    """
    _check_options(heartbeat, reconnect, limits, workers)
    login, authenticate = _split(auth, token)
    check_timeout(timeout)
    name = name or f"{UNNAMED}-{next(_numbers)}"
    dialler = Dialler(url, token, login, query, headers, ssl_context, proxy, token_in, heartbeat, limits)
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
    supervisor.start(_hooks(connection, authenticate))
    if wait:
        _wait_until_open(connection, supervisor, timeout)
    return connection


def check_options(url: Text, **options: Any) -> None:
    """Raise what `connect` raises for arguments that cannot be used, and connect nothing; `TypeError` for a name."""
    from inspect import signature  # for those who check what others configured

    bound = signature(connect).bind(url, **options)
    bound.apply_defaults()
    given = bound.arguments
    _check_options(given["heartbeat"], given["reconnect"], given["limits"], given["workers"])
    login, _ = _split(given["auth"], given["token"])
    check_timeout(given["timeout"])
    check_timeout(given["call_timeout"], "call_timeout")
    taken = ("query", "headers", "ssl_context", "proxy", "token_in", "heartbeat", "limits")
    Dialler(url, given["token"], login, *(given[name] for name in taken))


def _check_options(heartbeat: object, reconnect: object, limits: object, workers: object) -> None:
    if not (heartbeat is None or isinstance(heartbeat, Heartbeat)):
        raise ValueError(f"heartbeat must be a Heartbeat or None, not {heartbeat!r}")
    if not (reconnect is None or isinstance(reconnect, Backoff)):
        raise ValueError(f"reconnect must be a Backoff or None, not {reconnect!r}")
    if not isinstance(limits, Limits):
        raise ValueError(f"limits must be Limits, not {limits!r}")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number, 1 or more, not {workers!r}")


def _split(auth: Auth | TokenSource | None, token: Text | None) -> tuple[TokenSource | None, Auth | None]:
    """What gives tokens, and what speaks on a new link."""
    if auth is None:
        return None, None
    if isinstance(auth, TokenSource) and not isinstance(auth, type):
        if token is not None:
            raise ValueError("token must be left out where auth is a login: the login gives the tokens")
        return auth, None
    if isinstance(auth, type) or not callable(auth):
        what = f"the class {auth.__name__}" if isinstance(auth, type) else type(auth).__name__
        raise ValueError(f"auth must be callable or a login, not {what}")
    return None, auth


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
