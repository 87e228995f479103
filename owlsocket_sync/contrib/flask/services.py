"""The services of one app: one lazy connection per process for each; the app's handlers run in the app's context.

Locks: ``_binding_lock`` of a `HandlerBinder` guards which handlers a connection has. It is held while handlers are
registered, which takes ``_table_lock`` of the connection; nothing waits under it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, Protocol, cast

from flask import Flask

from ...client import open_connection
from ...client_options import ClientOptions
from ...connection import Connection
from ...context import Context, SocketService
from ...context.socket_service import ServiceState
from ...deadline import check_timeout
from ...errors import ConfigError, SocketConnectionError
from ...errors.safe_text import safe_str
from ...protocol.reports import ErrorContext
from ...reentrant import make_lock
from ...states import ENDING_STATES
from .configuration import DEFAULT, OPTIONS, ServiceSettings, read_config
from .hubs import AppHub

ON_ERROR = "on_error"
CONTEXT = "context"


class Registration:
    """A handler of the extension, with the verb and the names that it is registered for.

    Attributes:
        alias: name of the service.
        verb: method of `owlsocket_sync.Connection` that registers the handler.
    """

    def __init__(
        self,
        alias: str,
        verb: str,
        names: tuple[str, ...],
        handler: Callable[..., Any],
        options: Mapping[str, Any],
    ) -> None:
        self.alias = alias
        self.verb = verb
        self._names = names
        self._handler = handler
        self._options = options

    def add_to(self, connection: Connection, app: Flask) -> None:
        """Register the handler on a connection; the handler runs in the context of the app."""
        getattr(connection, self.verb)(*self._names, in_context(app, self._handler), **self._options)


def in_context(app: Flask, handler: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a handler in an application context; an async handler is run until it completes."""
    run: Callable[..., Any] = app.ensure_sync(handler)

    @wraps(handler)
    def handle(*arguments: Any) -> Any:
        # A new context for each invocation: workers share no `g`, and teardown functions return database sessions.
        with app.app_context():
            return run(*arguments)

    return handle


class HandlerBinder:
    """Link between the handlers and the connection of a service; each handler is registered once.

    Args:
        app: app in whose context the handlers run.
        alias: name of the service.
        registrations: handlers of the extension, shared with it and only appended to.
    """

    def __init__(self, app: Flask, alias: str, registrations: list[Registration]) -> None:
        self._app = app
        self._alias = alias
        self._registrations = registrations
        self.reset()

    def reset(self) -> None:
        """Forget the connection; also called in a forked child, before the first use."""
        # A new lock: the parent's lock may be held in the child, by a thread that the child does not have.
        self._binding_lock = make_lock()
        self._connection: Connection | None = None
        self._registered = 0

    def bind(self, connection: Connection) -> None:
        """Register all handlers on a new connection, before it receives anything."""
        with self._binding_lock:
            self._connection, self._registered = connection, 0
            connection.on_error(self._log)
            self._register_new(connection)

    def sync(self) -> None:
        """Register handlers that were added since the last call; from any thread."""
        with self._binding_lock:
            # A connection that is closed takes no handlers; the next one gets all of them.
            if self._connection is not None and self._connection.state not in ENDING_STATES:
                with suppress(SocketConnectionError):
                    self._register_new(self._connection)

    def _register_new(self, connection: Connection) -> None:
        # The length is read once: a registration that is appended meanwhile follows by the sync() of its own thread.
        first, self._registered = self._registered, len(self._registrations)
        for registration in self._registrations[first : self._registered]:
            if registration.alias == self._alias:
                registration.add_to(connection, self._app)

    def _log(self, error: Exception, context: ErrorContext) -> None:
        """Log an error on ``app.logger``, as Flask does for views, unless the app has an `on_error` handler."""
        if not any(entry.verb == ON_ERROR and entry.alias == self._alias for entry in self._registrations):
            self._app.logger.error("owlsocket %r: %s: %s", self._alias, context, safe_str(error), exc_info=error)


class AppService(SocketService):
    """A `SocketService` with the handlers of an app.

    Args:
        binder: registers the handlers.
        options: options of `SocketService`.
    """

    def __init__(self, binder: HandlerBinder, **options: Any) -> None:
        self.binder = binder
        super().__init__(setup=binder.bind, **options)

    def _make_state(self) -> ServiceState:
        # In a forked child the binder still holds the parent's connection and lock.
        self.binder.reset()
        return super()._make_state()

    def sync(self) -> None:
        """Register handlers that were added since the connection was made."""
        self._state.get()  # in a forked child this resets the binder first
        self.binder.sync()


class ConnectionSource(Protocol):
    """Supplier of a connection: the service of the app, or its override in a test."""

    @property
    def connection(self) -> Connection:
        """The connection of this process."""
        ...

    def use(self, timeout: float | None) -> tuple[Connection, float | None]:
        """Return the connection for one use, and the timeout that is left for it after connecting."""
        ...

    def enqueue(self, payload: Any, id: str | None) -> None:
        """Put a message on the peer's queue."""
        ...

    def sync(self) -> None:
        """Register handlers that were added since the connection was made."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class AppState:
    """Content of ``app.extensions["owlsocket"]``: the services of one app.

    Args:
        app: the app.
        owner: the extension.
        prefix: prefix of the keys in the app's configuration.
        registrations: handlers of the extension.
    """

    def __init__(self, app: Flask, owner: object, prefix: str, registrations: list[Registration]) -> None:
        read_config(app, prefix)  # a misspelled key fails when the app starts, not at the first request
        self._app = app
        self.owner = owner
        self.hub = AppHub(app, prefix)
        self._prefix = prefix
        self._registrations = registrations
        # A dict with one entry: setdefault() and pop() are atomic, so creation and close() need no lock across a fork.
        self._context_slot: dict[str, Context] = {}
        self._source_overrides: dict[str, ConnectionSource] = {}
        self._option_overrides: dict[str, dict[str, Any]] = {}

    @property
    def context(self) -> Context:
        """The services, created from the configuration when the first service is used.

        Raises:
            ConfigError: a configuration value is not usable; the message names the key.
        """
        context = self._context_slot.get(CONTEXT)
        if context is None:
            created = Context(*(self.make_service(alias) for alias in read_config(self._app, self._prefix)))
            # Threads may race to here: all of them use the context that was stored first; the others connected nothing.
            context = self._context_slot.setdefault(CONTEXT, created)
        return context

    def _configured(self, alias: str) -> Mapping[str, Any]:
        """Return the raw options of a service; the configuration, or the override of a test."""
        services = read_config(self._app, self._prefix)
        if alias not in services and alias != DEFAULT:
            known = ", ".join(map(repr, services)) or "none"
            raise ConfigError(f"no service {alias!r} in {self._prefix}SERVICES; configured services: {known}")
        return self._option_overrides.get(alias) or services.get(alias, {})

    def options(self, alias: str, names: Iterable[str] = OPTIONS) -> dict[str, Any]:
        """Return the configured options of these names; raises `ConfigError` if a value is not usable."""
        settings = ServiceSettings(self._app.name, self._prefix, alias, self._configured(alias))
        return settings.connect_options(exclude=OPTIONS.difference(names))

    def make_service(self, alias: str) -> AppService:
        """Create a service from the configuration, without connecting.

        Raises:
            ConfigError: the configuration is not usable.
        """
        # Read once: an import path may lead to a function, which must not run twice.
        options = self.options(alias)
        try:
            ClientOptions(**options)  # the checks of connect(), before anything connects
            return AppService(self.binder(alias), alias=alias, **options)
        except (TypeError, ValueError) as error:
            raise self._invalid(alias, error) from error

    def client_options(self, alias: str, **changes: Any) -> ClientOptions:
        """Return the checked options of a service, with changes; raises `ConfigError` if an option is invalid."""
        options = {**self.options(alias), **changes}
        try:
            return ClientOptions(**options)
        except (TypeError, ValueError) as error:
            raise self._invalid(alias, error) from error

    def _invalid(self, alias: str, error: Exception) -> ConfigError:
        return ConfigError(f"invalid configuration of service {alias!r}: {error}")

    def source(self, alias: str) -> ConnectionSource:
        """Return the supplier of the connection of a service.

        Raises:
            ConfigError: the service does not exist, or its configuration is not usable.
        """
        override = self._source_overrides.get(alias)
        if override is not None:
            return override
        service = self.context.find(alias)
        if not isinstance(service, AppService):
            self.options(alias)  # raises with the missing key, if there is one
            raise ConfigError(
                f"service {alias!r} was configured after another service was used; call owl.close() to reload the "
                "configuration"
            )
        return service

    def connection(self, alias: str) -> Connection:
        """Return the connection of this process to a service; raises as `SocketService.connection` does."""
        source = self.source(alias)
        try:
            return source.connection
        except ValueError as error:
            raise self._invalid(alias, error) from error

    def use(self, alias: str, timeout: float | None) -> tuple[Connection, float | None]:
        """Return the connection for one use, and the timeout that is left; raises as `SocketService.use` does."""
        if timeout is not None:
            check_timeout(timeout)
        source = self.source(alias)
        try:
            return source.use(timeout)
        except ValueError as error:
            raise self._invalid(alias, error) from error

    @contextmanager
    def temporary_connection(self, alias: str, **changes: Any) -> Iterator[Connection]:
        """Connect in the background for one command; without the app's handlers, which belong to servers.

        Raises:
            ConfigError: the configuration is not usable.
        """
        override = self._source_overrides.get(alias)
        # A fake peer has no URL to connect to. A test server has: the command gets a connection of its own there.
        if override is not None and alias not in self._option_overrides:
            if "setup" in changes:
                changes["setup"](override.connection)
            yield override.connection
            return
        # Without reconnect: a command reports a lost link and ends, in place of waiting for another one.
        with open_connection(self.client_options(alias, **changes, reconnect=None, wait=False)) as connection:
            yield connection

    def sync(self, alias: str) -> None:
        """Register new handlers on the connection of a service and of its override, if they are connected."""
        context = self._context_slot.get(CONTEXT)
        for source in (self._source_overrides.get(alias), context and context.find(alias)):
            if source is not None:
                cast(ConnectionSource, source).sync()

    @contextmanager
    def override(self, alias: str, source: ConnectionSource) -> Iterator[None]:
        """Use another source for a service inside the ``with`` block, and close the source at its end."""
        with _replaced(self._source_overrides, alias, source):
            try:
                yield
            finally:
                source.close()

    @contextmanager
    def override_url(self, url: str, alias: str, exclude: Iterable[str]) -> Iterator[None]:
        """Connect a service to another URL inside the ``with`` block, without the excluded options."""
        options = {name: value for name, value in self._configured(alias).items() if name not in exclude}
        # The options come first: make_service() reads them.
        with (
            _replaced(self._option_overrides, alias, {**options, "url": url}),
            self.override(alias, self.make_service(alias)),
        ):
            yield

    def binder(self, alias: str) -> HandlerBinder:
        """Return a new binder for the handlers of a service."""
        return HandlerBinder(self._app, alias, self._registrations)

    def close(self) -> None:
        """Close the connections of this process; the next use connects again."""
        context = self._context_slot.pop(CONTEXT, None)
        if context is not None:
            context.close()


@contextmanager
def _replaced(table: dict[str, Any], key: str, value: Any) -> Iterator[None]:
    """Set an entry of a table inside the ``with`` block, and restore the previous entry at its end."""
    # A copy of the table, not get(): a missing entry and None are different here.
    before = dict(table)
    table[key] = value
    try:
        yield
    finally:
        del table[key]
        if key in before:
            table[key] = before[key]
