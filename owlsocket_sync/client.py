"""``connect()``: a `Connection` over a supervised link.

Threads hold one object, whoever called `connect` another, the same one for all that it can do: so it is noticed when
nobody uses a connection any more, which threads would keep alive for ever.
"""

from __future__ import annotations

import itertools
import ssl
import warnings
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from .connection import Connection
from .deadline import Deadline, check_timeout
from .dialler import Dialler, Text, TokenSource
from .errors import SocketConnectionError, SocketTimeout
from .options import Backoff, Heartbeat, Limits
from .protocol.instruments import UNNAMED
from .protocol.messages import CALL_TIMEOUT
from .runtime.handles import lend
from .runtime.namesakes import Namesakes
from .runtime.standing import Hooks
from .runtime.supervisor import Supervisor
from .runtime.workers import WorkerPool

Auth = Callable[[Connection], object]

CONNECT_GRACE = 0.25

_numbers = itertools.count(1)
_namesakes: Namesakes[Connection] = Namesakes()


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
    replace: bool = False,
    wait: bool = True,
) -> Connection:
    """Connect to an OwlMeans server; from any thread.

    One that is forgotten while it is open warns (`ResourceWarning`). It is closed at its next sign of life, unless it
    has handlers: these go on.

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
        replace: close every other connection of this process that was given the same ``name`` first, as for a cell of
            a notebook that is run again.
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
    dialler = Dialler(url, token, login, query, headers, ssl_context, proxy, token_in, heartbeat, limits)
    _make_room(name, replace)
    given, name = name, name or f"{UNNAMED}-{next(_numbers)}"
    pool = WorkerPool(workers, name)
    supervisor = Supervisor(
        dialler, pool, backoff=reconnect, timeout=timeout, patient=not wait, name=name, address=lambda: dialler.shown
    )
    facts: dict[str, Any] = {"name": name, "limits": limits, "call_timeout": call_timeout, "sender": sender}
    connection = Connection(supervisor, pool.submit, pool.lend_place, pool.settle, **facts, stamp=True)
    dialler.connection = connection
    handle = lend(connection, partial(_forgotten, connection, supervisor, pool))
    supervisor.start(_hooks(connection, authenticate, weakref.ref(handle)))
    _take_name(given, connection, replace)
    if wait:
        _wait_until_open(connection, supervisor, timeout)
    return handle


def _make_room(name: str | None, replace: bool) -> None:
    """Close those whose name this is, where they are to be replaced."""
    if replace and not name:
        raise ValueError("replace needs a name: that of the connection that is to be replaced")
    if replace and name:
        _close(_namesakes.of(name))


def _take_name(name: str | None, connection: Connection, replace: bool) -> None:
    """Be known by this name, and close who came meanwhile: of two that replace each other, the later one stays."""
    if name:
        others = _namesakes.add(name, connection)
        _close(others if replace else ())


def _close(connections: Iterable[Connection]) -> None:
    for one in connections:
        one.close(reason="replaced")


def _forgotten(connection: Connection, supervisor: Supervisor, pool: WorkerPool) -> None:
    """Nobody can use it any more. The garbage collector comes by, so no lock is taken here: the reader sees to it."""
    if not supervisor.is_at_work():
        return
    if not connection._has_handlers():
        connection._abandon(partial(pool.submit, "forgotten", connection.close))
    warnings.warn(
        f"connection {connection.name!r} to {connection.url} was forgotten while it was open: close() it, use it in "
        "a with block, or connect(name=..., replace=True)",
        ResourceWarning,
        stacklevel=3,
    )


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


def _hooks(connection: Connection, auth: Auth | None, handle: Callable[[], Connection | None]) -> Hooks:
    return Hooks(
        opened=connection._link_opened,
        lost=connection._link_lost,
        over=connection._over,
        moved=connection._tell_state,
        discarded=partial(connection._count, "dropped"),
        tick=connection.expire,
        authenticate=None if auth is None else lambda: auth(handle() or connection),
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
            raise supervisor.failure from supervisor.failure.__cause__
        raise
    except BaseException:
        connection.close(timeout=0.0)
        raise
