"""``connect()``: a `Connection` over a supervised link.

Threads hold the core of a connection, the user holds the `Connection`: so it is noticed when the user forgets one that
is open, which its threads would keep alive without end.
"""

from __future__ import annotations

import itertools
import ssl
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

from . import fork
from .callables import refuse_awaitable
from .client_options import ClientOptions, StrOrCallable, TokenSource
from .connection import Connection
from .connector import Connector, warn_cleartext
from .core.core import CLOSE_TIMEOUT, Core, CoreOptions
from .core.tasks import task_name
from .deadline import Deadline, check_timeout
from .errors import ResilientError, SocketConnectionError, SocketTimeout
from .green_threads import refuse_eventlet
from .handshake_fields import Query
from .inherited import closed_core
from .locks import LocksReleased
from .options import Backoff, Deflate, Heartbeat, Limits, refuse_unknown
from .protocol.carrier import no_link_error
from .protocol.connection_registry import UNNAMED
from .protocol.messages import CALL_TIMEOUT
from .protocol.reports import ErrorContext
from .protocol.settings import Settings
from .runtime.endings import failed_end
from .runtime.inline_pool import InlinePool
from .runtime.link import Link
from .runtime.named_connections import NamedConnections
from .runtime.supervisor import Supervisor
from .states import ENDING_STATES
from .values import forget_locals, forgetting_locals

if TYPE_CHECKING:
    from .core.durable_queue import DurableQueue
    from .stores.queue import Queue

Auth = Callable[[Connection], object]

CONNECT_GRACE = 0.25

_numbers = itertools.count(1)
_named_connections: NamedConnections[Core] = NamedConnections()
"""Cores, not connections: one that the user forgot, and that goes on, is replaced as well."""


def connect(
    url: StrOrCallable,
    *,
    token: StrOrCallable | None = None,
    query: Query | None = None,
    headers: Mapping[str, str] | None = None,
    auth: Auth | TokenSource | None = None,
    timeout: float | None = 10.0,
    call_timeout: float | None = CALL_TIMEOUT,
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
    setup: Callable[[Connection], object] | None = None,
    compression: Deflate | str | None = None,
    inbox: Queue | None = None,
    outbox: Queue | None = None,
    subprotocols: Sequence[str] | None = None,
    **unknown: NoReturn,
) -> Connection:
    """Connect to an OwlMeans server; from any thread.

    Close the connection with `Connection.close` or a ``with`` block. A connection that loses its last reference while
    it is open warns (`ResourceWarning`), and is closed soon after, unless it has handlers: then it stays open.

    Args:
        url: ``ws://…`` or ``wss://…``, or a callable that returns one; called for each attempt.
        token: an envelope, with or without ``ED25519-BASIC-TOKEN`` before it, or a callable that returns one; called
            for each attempt.
        query: parameters that are added to the query of the URL, as a mapping or as pairs. A list repeats its key,
            ``None`` leaves it out.
        headers: headers of the upgrade request; they replace headers of this package, except those of the handshake,
            which are refused.
        auth: an `owlsocket_sync.auth.Login`, which supplies a token for each new link; or a callable that authenticates
            each new link on the connection that it receives, before anything else is sent. If it raises, that link is
            closed.
        timeout: seconds for one attempt: DNS, TCP, proxy, TLS, upgrade and ``auth`` together.
        call_timeout: the timeout of calls without ``timeout=``, in seconds.
        heartbeat: when to ping a silent peer; ``None`` for never.
        reconnect: the delays between attempts after a link is lost; ``None`` does not reconnect.
        limits: the bounds of queues and message sizes.
        workers: the maximum number of handlers that run at once; a handler that waits in a call does not count.
        ssl_context: for ``wss://``; by default, the certificate authorities of this machine are trusted.
        proxy: ``"http://[user:password@]host:port"``; ``"socks5://…"``, ``"socks5h://…"`` (the proxy resolves the
            host), ``"socks4://…"`` or ``"socks4a://…"`` (extra ``socks``); ``"env"`` for the proxy of the environment;
            ``None`` for none.
        token_in: where the token is sent: in the ``"query"`` (without its scheme), in the ``"header"`` (as
            ``Authorization``, with its scheme), or both.
        sender: the name of this end, sent in each message.
        name: the name of the connection in logs.
        replace: first close the connections of this process with the same ``name``; for cells of a notebook that run
            again.
        wait: return when the connection is open, or raise; ``False`` returns at once, and keeps connecting in the
            background.
        setup: called once with the connection, before it connects. Handlers that it registers miss no message of the
            server. If it raises, the connection is closed and the exception is raised here.
        compression: ``"deflate"`` or a `Deflate` compresses messages where the server agrees to it; ``None`` does not
            offer it. See `Deflate`.
        inbox: a queue of a store, in which messages of the server are kept until they are acknowledged; ``None`` for
            the memory of the connection. See `owlsocket_sync.stores`.
        outbox: a queue of a store, from which messages are sent until the server has acknowledged them; ``None`` sends
            them at once.
        subprotocols: names that are offered to the server, the preferred one first; ``None`` offers none.
            `Connection.subprotocol` is the one that the server selected.

    Raises:
        ValueError: an option cannot be used; the message names it.
        SocketTimeout: no connection within the timeout.
        SocketUnauthorized: the server refused the token.
        AuthError: the server, or a login, refused and gave the reason.
        SocketConnectionError: the server cannot be reached, or refused.
        SocketInitializationError: eventlet has patched this process, or ``proxy`` needs the extra ``socks``.
        TypeError: there is no such option; the message has the nearest name.
    """
    # Error trackers and debug pages show the locals of each frame of an error: no secret is among them.
    try:
        with forgetting_locals():
            refuse_unknown("connect", unknown, connect)
            options = ClientOptions(
                url=url, token=token, query=query, headers=headers, auth=auth,
                timeout=check_timeout(timeout, default=ClientOptions.timeout),
                call_timeout=check_timeout(call_timeout, "call_timeout", CALL_TIMEOUT),
                heartbeat=heartbeat, reconnect=reconnect, limits=limits, workers=workers,
                ssl_context=ssl_context, proxy=proxy, token_in=token_in, sender=sender, name=name, replace=replace,
                wait=wait, setup=setup, compression=compression, inbox=inbox, outbox=outbox, subprotocols=subprotocols,
            )  # fmt: skip
    finally:
        del url, token, query, headers, auth, proxy, unknown
    return open_connection(options)


def open_connection(options: ClientOptions) -> Connection:
    """Connect as `connect` does, which describes the options and the errors; from any thread."""
    fork.ensure_process()
    refuse_eventlet()
    if options._is_static:
        assert isinstance(options.url, str)
        token = options.token if isinstance(options.token, str) else None
        warn_cleartext(options.target(options.url, token), token, stacklevel=3)
    if options.replace and options.name:
        _close(_named_connections.get(options.name))
    name = options.name or f"{UNNAMED}-{next(_numbers)}"
    assemble = _Assembly(options, name)
    core, supervisor = assemble(parent=None)
    connection = Connection(core, assemble.renew)
    core.facade.watch(connection)
    supervisor.start_dormant(core)
    try:
        if options.setup is not None:
            refuse_awaitable(options.setup(connection), "setup")
        supervisor.start(core)
    except BaseException:
        connection.close(timeout=0.0)
        raise
    _register_name(options, core)
    if options.wait:
        _wait_until_open(connection, supervisor, options.timeout)
    return connection


class _Assembly:
    """Makes the core of a connection from its options, and another one in each forked child."""

    __slots__ = ("_core_options", "_options")

    def __init__(self, options: ClientOptions, name: str) -> None:
        self._options = options
        compresses = options.compression is not None
        queues = None
        if options.inbox is not None or options.outbox is not None:
            from .queue_setup import stored_queues  # where nothing is stored, it is not loaded

            queues = stored_queues(options.inbox, options.outbox)
        self._core_options = CoreOptions(
            name, options.limits, options.sender, stamps=True, compresses=compresses, queues=queues
        )

    def __call__(self, parent: Core | None) -> tuple[Core, Supervisor]:
        """Return the parts of the connection, which connects nothing yet."""
        options, name = self._options, self._core_options.name
        source = _LinkSource(options)
        pool = InlinePool(options.workers, name, task_name)
        supervisor = Supervisor(
            source.connect,
            pool,
            backoff=options.reconnect,
            timeout=options.timeout,
            retry_initial=parent is not None or not options.wait,
            name=name,
            address=source.address,
            authenticate=None if options.authenticate is None else source.authenticate,
        )
        settings = Settings(options.call_timeout) if parent is None else parent.settings
        source.core = core = Core(supervisor, pool, self._core_options, settings, parent)
        core.facade.on_forgotten = _on_forgotten
        return core, supervisor

    def renew(self, parent: Core) -> Core:
        """Return the core with which a forked child goes on: it connects at the first use that needs a link."""
        is_closed = parent.carrier.state in ENDING_STATES
        if self._options.reconnect is None or is_closed:
            return closed_core(parent)
        core, supervisor = self(parent)
        supervisor.start_dormant(core)
        return core


class _LinkSource:
    """Makes and authenticates the links of a connection, and reports what the user's code raises there.

    Attributes:
        core: of the connection.
    """

    __slots__ = ("_connector", "_options", "core")

    core: Core

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._connector = Connector(options)

    def address(self) -> str:
        """Return the URL of the latest attempt, without secrets."""
        return self._connector.display_url

    def connect(self, deadline: Deadline, *arguments: Any) -> Link:
        """Connect as `Connector` does, and say that this end has queues in stores."""
        with _reporting(self.core, "connect"):
            link = self._connector(deadline, *arguments)
        self.core.facade.answer = self._connector.answer
        durable = self.core.durable
        if durable is not None:
            _announce(durable, link, arguments[1], self._options.authenticate is not None, deadline)
        return link

    def authenticate(self) -> None:
        """Let the user's callable speak first on a new link."""
        authenticate = self._options.authenticate
        assert authenticate is not None
        with _reporting(self.core, "auth"):
            refuse_awaitable(authenticate(self.core.facade.get()), "auth")


def _announce(durable: DurableQueue, link: Link, number: int, authenticates: bool, deadline: Deadline) -> None:
    """Say on a new link that this end has queues in stores, before a byte is read."""
    try:
        link.write(durable.exchange.announce(number, authenticates=authenticates), deadline)
    except BaseException as failure:
        link.abort(failed_end("the link could not be opened", failure))
        raise


@contextmanager
def _reporting(core: Core, source: str) -> Iterator[None]:
    """Report an error of the user's code on a later link than the first: it has no caller, as that of a handler."""
    try:
        yield
    except BaseException as error:
        # Errors of the package are refusals and losses, of which the state tells.
        if cast(Supervisor, core.carrier).was_open and not isinstance(error, ResilientError):
            forget_locals(error)
            core.reporter.report(error, ErrorContext(source))
        raise


def _register_name(options: ClientOptions, core: Core) -> None:
    """Register the connection under its name; of two that replace each other at once, the later one stays."""
    if options.name:
        others = _named_connections.add(options.name, core)
        _close(others if options.replace else ())


def _close(cores: Iterable[Core]) -> None:
    for core in cores:
        core.close(1000, "replaced", Deadline(CLOSE_TIMEOUT))


def _on_forgotten(core: Core) -> None:
    """Warn of a connection that was forgotten while it is open.

    The garbage collector calls this, in any thread. A worker closes: the reader may wait for bytes, or for a link.
    """
    fork.ensure_process()  # takes no lock but its own, under which nothing waits
    # While a child parts from its parent it drops the parent's connections: those were not forgotten by its user.
    supervisor = cast(Supervisor, core.carrier)
    if not fork.has_parted() or not supervisor.is_active():
        return
    if not core.has_handlers():
        core.close_soon()
    warnings.warn(
        f"connection {core.options.name!r} to {supervisor.url} was forgotten while it was open: close() it, use it in "
        "a with block, or connect(name=..., replace=True)",
        ResourceWarning,
        stacklevel=4,
    )


def _wait_until_open(connection: Connection, supervisor: Supervisor, timeout: float) -> None:
    try:
        with LocksReleased(supervisor.step_aside()):
            supervisor.wait_open(Deadline(timeout + CONNECT_GRACE))
    except SocketTimeout:
        connection.close(timeout=0.0)
        what = f"no connection to {connection.url} within {timeout:g} s"
        raise no_link_error(what, supervisor.last_failure) from supervisor.last_failure
    except SocketConnectionError:
        if supervisor.was_open:
            return
        if supervisor.failure is not None:
            raise supervisor.failure from supervisor.failure.__cause__
        raise
    except BaseException:
        connection.close(timeout=0.0)
        raise
