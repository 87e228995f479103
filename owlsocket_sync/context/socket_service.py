"""One connection per process, opened on first use.

Threads: ``_connection_lock`` is held while the service connects, so that all threads of a process share one connection.
It is waited for under the service's timeout, or that of the use, never without one. While it is held,
``_services_lock`` of the context may be taken, never the other way round.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..client import open_connection
from ..client_options import ClientOptions
from ..connection import Connection
from ..deadline import Deadline, check_timeout
from ..errors import ConfigError, SocketConnectionError, SocketInitializationError, SocketTimeout
from ..errors.marshalled import unsent
from ..fork import PerProcess
from ..protocol.carrier import no_link_error
from ..states import ConnectionState
from .auth_service import AuthService
from .service import Service

if TYPE_CHECKING:
    from .context import Context

BEGIN_INTERVAL = 0.01


class ServiceState:
    """The state that a service has in one process: a child must not use the parent's connection.

    Attributes:
        connection: the connection of this process, or ``None`` before the first.
        opening: a connection that has not opened yet, and when it has to be open; set with the lock.
    """

    def __init__(self) -> None:
        self.connection_lock = threading.Lock()
        self.connection: Connection | None = None
        self.opening: tuple[Connection, Deadline] | None = None


class SocketService(Service):
    """One connection per process: opened on first use, and again after it was closed.

    Args:
        url: the URL to connect to, or a callable that returns it.
        alias: name within the context.
        auth: alias of the `AuthService` that supplies the credentials.
        setup: called with each new connection before it connects; registers handlers.
        options: further options of `owlsocket_sync.connect`.

    Raises:
        ValueError: ``alias`` or an option is invalid.
        TypeError: `owlsocket_sync.connect` has no such option.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        *,
        alias: str = "socket",
        auth: str | None = None,
        setup: Callable[[Connection], object] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(alias)
        self._state = PerProcess(self._make_state)
        self._auth = auth
        # wait=False: a connect that fails closes the connection, and raises the reason why it closed; see _open.
        self._options = ClientOptions(url=url, **{"name": alias, **options}, wait=False, setup=setup)
        self._closed = False

    def _make_state(self) -> ServiceState:
        """Return the state of the service in a process, at its first use there."""
        return ServiceState()

    def configure(self, context: Context) -> None:
        """Take the credentials from the `AuthService`.

        Raises:
            ConfigError: no `AuthService` is registered under that alias.
        """
        if self._auth is None:
            return
        service = context.find(self._auth)
        if not isinstance(service, AuthService):
            raise ConfigError(f"service {self.alias!r} needs an AuthService with alias {self._auth!r}: register one")
        self._use_credentials(**service.credentials())

    def _use_credentials(self, **credentials: Any) -> None:
        """Connect with these from now on: ``token``, ``auth`` and queues, as options of `owlsocket_sync.connect`."""
        self._options = replace(self._options, **credentials)

    @property
    def connection(self) -> Connection:
        """The connection of this process, open or reconnecting; connects if there is none. Any thread.

        Raises:
            SocketInitializationError: the service is closed.
            SocketTimeout: not connected within ``timeout``.
            SocketConnectionError, AuthError: as `owlsocket_sync.connect`.
        """
        return self.current or self._connect(Deadline(math.inf))

    def use(self, timeout: float | None = None) -> tuple[Connection, float | None]:
        """Return the connection for one use, and the timeout that is left for the use after connecting. Any thread.

        If the timeout is over before the connection is open, it goes on connecting, for the next use.

        Args:
            timeout: seconds for connecting and the use together; ``None`` for the option ``call_timeout``.

        Raises:
            ValueError: the timeout is invalid.
            SocketInitializationError, SocketTimeout, SocketConnectionError, AuthError: as `connection`.
        """
        connection = self.current
        if connection is not None:
            return connection, timeout
        deadline = Deadline(self._options.call_timeout if timeout is None else check_timeout(timeout))
        return self._connect(deadline), deadline.remaining()

    def enqueue(self, payload: Any, id: str | None = None) -> None:
        """Put a message on the peer's queue; with an outbox it is stored at once, and connecting goes on behind it.

        Raises:
            SocketInitializationError, SocketTimeout, SocketConnectionError, AuthError: as `connection`; with an outbox,
                never because the server is away.
        """
        connection = self.current
        if connection is None:
            if self.context is not None:
                self.context.init()  # which may set the outbox
            connection = self.use()[0] if self._options.outbox is None else self._begin()
        connection.enqueue(payload, id)

    @property
    def current(self) -> Connection | None:
        """The connection of this process, or ``None`` if there is none or it is closed; never connects."""
        # No lock on this path: a reference is replaced as a whole, and a connection never leaves CLOSED.
        connection = self._state.get().connection
        return connection if connection is not None and connection.state is not ConnectionState.CLOSED else None

    def _connect(self, deadline: Deadline) -> Connection:
        # Before the lock: init() takes the context's lock, and calls services that may use this one.
        if self.context is not None:
            self.context.init()
        state = self._state.get()
        deadline = Deadline(self._options.timeout).sooner(deadline)
        if not deadline.acquire(state.connection_lock):
            raise self._lock_timeout(deadline)
        try:
            if self._closed:
                raise SocketInitializationError(f"service {self.alias!r} is closed")
            # Checked again: another thread may have connected while this one waited for the lock.
            connection = state.connection
            if connection is None or connection.state is ConnectionState.CLOSED:
                connection = self._open(state, deadline)
            return connection
        finally:
            state.connection_lock.release()

    def _begin(self) -> Connection:
        """Return a connection that may be opening still."""
        state, deadline = self._state.get(), Deadline(self._options.timeout)
        while True:
            connection = self.current or (state.opening and state.opening[0])
            if connection is not None and connection.state is not ConnectionState.CLOSED:
                return connection
            # In short waits: a thread that waits for the link keeps the lock, and has put its connection there before.
            if deadline.sooner(Deadline(BEGIN_INTERVAL)).acquire(state.connection_lock):
                try:
                    return self.current or self._opening(state)[0]
                finally:
                    state.connection_lock.release()
            if deadline.expired():
                raise self._lock_timeout(deadline)

    def _opening(self, state: ServiceState) -> tuple[Connection, Deadline]:
        """Return the connection that is opening, or a new one; the caller holds the connection lock."""
        if self._closed:
            raise SocketInitializationError(f"service {self.alias!r} is closed")
        opening, limit = state.opening, Deadline(self._options.timeout)
        if opening is None or opening[0].state is ConnectionState.CLOSED:
            state.opening = opening = open_connection(self._options), limit
        elif opening[1].expired():  # it was left to open, for its outbox
            state.opening = opening = opening[0], limit
        return opening

    def _open(self, state: ServiceState, deadline: Deadline) -> Connection:
        """Open a connection, or go on with one that is opening; the caller holds the connection lock."""
        connection, limit = self._opening(state)
        try:
            self._wait_open(connection, deadline, limit)
        except SocketTimeout:
            if limit.expired():
                self._discard_opening(state)
            raise
        except SocketConnectionError as error:
            self._discard_opening(state)
            # wait_open wraps the reason why the connection closed; callers get that reason, as connect() raises it.
            raise error.__cause__ or error from None
        except BaseException:  # KeyboardInterrupt too
            self._discard_opening(state)
            raise
        state.opening = None
        # Published before the check: close() sets _closed first and reads the connection then, so that one of the two
        # threads sees the other's write and closes the connection.
        state.connection = connection
        if self._closed:
            connection.close()
            raise SocketInitializationError(f"service {self.alias!r} is closed")
        return connection

    def _lock_timeout(self, deadline: Deadline) -> SocketTimeout:
        what = f"timed out after {deadline.seconds:g} s waiting for another thread to connect service"
        return unsent(SocketTimeout(f"{what} {self.alias!r}"))

    def _wait_open(self, connection: Connection, deadline: Deadline, limit: Deadline) -> None:
        # An earlier use may have begun to open it, and then there is less time left.
        seconds = deadline.seconds if deadline.at <= limit.at else round(limit.remaining(), 2)
        try:
            connection.wait_open(deadline.sooner(limit).remaining())
        except SocketTimeout as error:
            what = f"timed out after {seconds:g} s waiting for a connection to {connection.url}"
            failure = error.__cause__
            raise no_link_error(what, failure if isinstance(failure, Exception) else None) from failure

    def _discard_opening(self, state: ServiceState) -> None:
        opening = state.opening
        if opening is None:
            return
        if self._options.outbox is not None and opening[0].state is not ConnectionState.CLOSED:
            return  # it goes on, as it has to send what is in the outbox
        state.opening = None
        opening[0].close(timeout=0.0)

    def close(self) -> None:
        """Close the connection; the service cannot be used again. Idempotent, any thread."""
        # Without the connection lock: a thread that connects may hold it for the whole timeout.
        self._closed = True
        state = self._state.get()
        for connection in (state.connection, state.opening and state.opening[0]):
            if connection is not None:
                connection.close()

    def __repr__(self) -> str:
        return f"<SocketService {self.alias!r}: {self._state.get().connection or 'not connected'}>"
