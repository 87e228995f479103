"""Named services with a lifecycle: one connection per process, made when it is first used.

The counterpart of ``@owlmeans/context`` for scripts and web workers::

    context = Context(
        AuthService("https://auth.example.com", key),
        SocketService("wss://api.example.com/ws", auth="auth"),
    )
    context.service("socket").connection.call("getUserProfile", "123")

Threads: ``_services_lock`` guards the table and the phase of a context, and is free while a service connects or closes.
``_connection_lock`` of a service is held while it connects, so that all threads of a process get one connection, and is
waited for under the service's deadline. Both are made anew at the first use in a forked child: by then a worker of
gevent has patched what locks are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from .client import connect
from .connection import Connection
from .deadline import check_timeout
from .errors import ConfigError, SocketConnectionError, SocketInitializationError, SocketTimeout
from .runtime.process import PerProcess
from .stages import ConnectionState

if TYPE_CHECKING:
    from .auth import Auth, KeyPair

__all__ = ["AuthService", "Context", "Phase", "Service", "SocketService"]

CONNECT_SECONDS = 10.0


class Phase(str, Enum):
    """Where a context stands."""

    OPEN = "open"
    CONFIGURED = "configured"
    READY = "ready"
    CLOSED = "closed"


class Service:
    """Something with a name that a context keeps; a base for services of your own.

    Attributes:
        alias: its name within the context.
        context: where it was put, once it was.
    """

    def __init__(self, alias: str) -> None:
        if not isinstance(alias, str) or not alias:
            raise ValueError(f"alias must be a name, not {alias!r}")
        self.alias = alias
        self.context: Context | None = None

    def configure(self, context: Context) -> None:
        """Look at the other services; all of them are there now. Raises `ConfigError` when one is missing."""

    def init(self) -> None:
        """Get ready; must not wait."""

    def close(self) -> None:
        """End; idempotent."""


class AuthService(Service):
    """Who we are: a login with a key, or a token of your own.

    Args:
        base_url: of the service that authenticates; needs ``key``.
        key: the private key, as a `KeyPair` or as text.
        token: in place of these two: a token, or a callable that gives one.
        alias: its name.
        options: those of `owlsocket_sync.auth.Login`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        key: KeyPair | str | None = None,
        *,
        token: str | Callable[[], str] | None = None,
        alias: str = "auth",
        **options: Any,
    ) -> None:
        super().__init__(alias)
        if (token is None) is (base_url is None or key is None):
            raise ValueError("either base_url and key, or token, must say who we are")
        self._token = token
        self._login = None
        if base_url is not None and key is not None:
            from .auth import Login

            self._login = Login(base_url, key, **options)
        elif options:
            raise ValueError(f"{', '.join(sorted(options))}: an option of logins, and a token needs none")

    def credentials(self) -> dict[str, Any]:
        """The arguments of `owlsocket_sync.connect` that say who we are."""
        return {"token": self._token} if self._login is None else {"auth": self._login}

    def token(self) -> str:
        """A token, for a request of your own; raises what `Login.token` raises."""
        if self._login is not None:
            return self._login.token(reuse=True)
        assert self._token is not None
        return self._token() if callable(self._token) else self._token

    @property
    def auth(self) -> Auth | None:
        """Who the server says we are; ``None`` before a login, or without one."""
        return None if self._login is None else self._login.auth

    def __repr__(self) -> str:
        return f"<AuthService {self.alias!r}: {self._login or 'a token'}>"


class SocketService(Service, PerProcess):
    """One connection per process, made when it is first asked for, and again when it was closed.

    Args:
        url: where to connect to, or a callable that says so.
        alias: its name.
        auth: the alias of the `AuthService` that says who we are.
        setup: called with each new connection, to register what it performs and observes.
        options: those of `owlsocket_sync.connect`.
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
        Service.__init__(self, alias)
        PerProcess.__init__(self)
        self._url = url
        self._auth = auth
        self._setup = setup
        self._options = options
        self._timeout = check_timeout(options.get("timeout", CONNECT_SECONDS))
        self._credentials: dict[str, Any] = {}
        self._closed = False

    def _begin_here(self) -> None:
        self._connection_lock = threading.Lock()
        self._connection: Connection | None = None

    def configure(self, context: Context) -> None:
        """Find who says who we are.

        Raises:
            ConfigError: nobody of that alias does.
        """
        if self._auth is None:
            return
        service = context.find(self._auth)
        if not isinstance(service, AuthService):
            raise ConfigError(f"service {self.alias!r} wants the AuthService {self._auth!r}, and there is none")
        self._credentials = service.credentials()

    @property
    def connection(self) -> Connection:
        """The connection of this process, open or on its way back.

        Raises:
            SocketInitializationError: the service was closed.
            SocketTimeout: no connection within the timeout of `owlsocket_sync.connect`; and what else that raises.
        """
        self._arrive()
        connection = self._connection
        if connection is not None and connection.state is not ConnectionState.CLOSED:
            return connection
        return self._connect()

    @property
    def current(self) -> Connection | None:
        """The connection of this process, if it has one that is not closed; asking does not connect."""
        self._arrive()
        connection = self._connection
        return connection if connection is not None and connection.state is not ConnectionState.CLOSED else None

    def _connect(self) -> Connection:
        if self.context is not None:
            self.context.init()
        if not self._connection_lock.acquire(timeout=min(self._timeout, threading.TIMEOUT_MAX)):
            raise SocketTimeout(f"another thread connects {self.alias!r} since {self._timeout:g} s")
        try:
            if self._closed:
                raise SocketInitializationError(f"service {self.alias!r} is closed")
            connection = self._connection
            if connection is None or connection.state is ConnectionState.CLOSED:
                connection = self._open()
            return connection
        finally:
            self._connection_lock.release()

    def _open(self) -> Connection:
        """A new connection; what is to be registered is, before anything can come."""
        options = {"name": self.alias, **self._options, **self._credentials, "wait": False}
        connection = connect(self._url, **options)
        try:
            if self._setup is not None:
                self._setup(connection)
            connection.wait_open(self._timeout)
        except SocketConnectionError as error:
            connection.close(timeout=0.0)
            raise error.__cause__ or error from None
        except BaseException:
            connection.close(timeout=0.0)
            raise
        self._connection = connection
        if self._closed:  # meanwhile, by another thread, which could not see this connection yet
            connection.close()
            raise SocketInitializationError(f"service {self.alias!r} is closed")
        return connection

    def close(self) -> None:
        """Close the connection, for good; from any thread."""
        self._closed = True
        self._arrive()
        connection = self._connection
        if connection is not None:
            connection.close()

    def __repr__(self) -> str:
        self._arrive()
        return f"<SocketService {self.alias!r}: {self._connection or 'not connected'}>"


AnyService = TypeVar("AnyService", bound=Service)


class Context(PerProcess):
    """Holds services by name; a context manager, and fit for any number of threads.

    `service` configures and initialises by itself, so a script needs to call neither.

    Args:
        services: the first ones; more may be registered until `configure`.
    """

    def __init__(self, *services: Service) -> None:
        super().__init__()
        self._services: dict[str, Service] = {}
        self._phase = Phase.OPEN
        for service in services:
            self.register(service)

    def _begin_here(self) -> None:
        self._services_lock = threading.RLock()

    @property
    def phase(self) -> Phase:
        """Where the context stands."""
        return self._phase

    def register(self, service: AnyService) -> AnyService:
        """Keep a service, and return it.

        Raises:
            ConfigError: its alias is taken, or the context is configured already.
        """
        self._arrive()
        with self._services_lock:
            if self._phase is not Phase.OPEN:
                raise ConfigError(f"service {service.alias!r} comes too late: the context is {self._phase.value}")
            if service.alias in self._services:
                raise ConfigError(f"there is a service {service.alias!r} already: give one of them another alias")
            self._services[service.alias] = service
            service.context = self
        return service

    def configure(self) -> Context:
        """Let the services find each other; returns the context. Raises `ConfigError` when one is missing."""
        self._arrive()
        with self._services_lock:
            self._check_open()
            if self._phase is Phase.OPEN:
                for service in self._services.values():
                    service.configure(self)
                self._phase = Phase.CONFIGURED
        return self

    def init(self) -> Context:
        """Configure, and let the services get ready; connects nothing yet. Returns the context; idempotent."""
        self._arrive()
        with self._services_lock:
            self.configure()
            if self._phase is Phase.CONFIGURED:
                for service in self._services.values():
                    service.init()
                self._phase = Phase.READY
        return self

    def find(self, alias: str) -> Service | None:
        """The service of this name, ``None`` when there is none; also while the context is being configured."""
        return self._services.get(alias)

    def service(self, alias: str) -> Any:
        """The service of this name, ready for use.

        Raises:
            ConfigError: there is none.
            SocketInitializationError: the context is closed.
        """
        if self._phase is not Phase.READY:
            self.init()
        found = self.find(alias)
        if found is None:
            known = ", ".join(map(repr, self._services)) or "none at all"
            raise ConfigError(f"there is no service {alias!r}, but {known}")
        return found

    def close(self) -> None:
        """Close the services, the last one first; idempotent, from any thread."""
        self._arrive()
        with self._services_lock:
            first = self._phase is not Phase.CLOSED
            self._phase = Phase.CLOSED
        if first:
            for service in reversed(self._services.values()):
                service.close()

    def _check_open(self) -> None:
        if self._phase is Phase.CLOSED:
            raise SocketInitializationError("the context is closed")

    def __enter__(self) -> Context:
        return self.init()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Context {self._phase.value}: {', '.join(self._services)}>"
