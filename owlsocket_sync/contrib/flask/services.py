"""The services of one app: one lazy connection per process each, on which the app's handlers run in its context.

Threads: ``_wiring`` of a service guards which handlers its connection has already, and is held while they are added;
nothing waits meanwhile. It is made anew in a forked child, with the locks of `owlsocket_sync.context.SocketService`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, cast

from flask import Flask

from ...connection import Connection
from ...context import Context, SocketService
from ...errors import ConfigError
from ...protocol.endpoint import ErrorContext
from .configuration import DEFAULT, OPTIONS, Settings, read

ON_ERROR = "on_error"


class Registration:
    """A handler of the extension, and what it is for.

    Attributes:
        alias: the service.
        verb: of `owlsocket_sync.Connection`, which registers it.
    """

    def __init__(
        self,
        alias: str,
        verb: str,
        names: tuple[str, ...],
        handler: Callable[..., Any],
        options: Mapping[str, Any],
    ) -> None:
        if not callable(handler):
            raise TypeError(f"the handler of {verb} must be callable, not {type(handler).__name__}")
        self.alias = alias
        self.verb = verb
        self._names = names
        self._handler = handler
        self._options = options

    def add_to(self, connection: Connection, app: Flask) -> None:
        """Register the handler on a connection; it runs in the context of the app."""
        getattr(connection, self.verb)(*self._names, in_context(app, self._handler), **self._options)


def in_context(app: Flask, handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, within an application context of its own; one that is async runs to its end."""
    run: Callable[..., Any] = app.ensure_sync(handler)

    @wraps(handler)
    def handle(*arguments: Any) -> Any:
        with app.app_context():
            return run(*arguments)

    return handle


class Wiring:
    """Which handlers the connection of a service has.

    Args:
        app: whose context they run in.
        alias: the service.
        registrations: of the extension; only ever appended to.
    """

    def __init__(self, app: Flask, alias: str, registrations: list[Registration]) -> None:
        self._app = app
        self._alias = alias
        self._registrations = registrations
        self.renew()

    def renew(self) -> None:
        """Begin anew; also in a forked child."""
        self._wiring = threading.Lock()
        self._connection: Connection | None = None
        self._added = 0

    def wire(self, connection: Connection) -> None:
        """Give a new connection all handlers that there are, before anything can come."""
        with self._wiring:
            self._connection, self._added = connection, 0
            connection.on_error(self._log)
            self._add_new(connection)

    def catch_up(self) -> None:
        """Give the connection, if there is one, the handlers that it has not got yet."""
        with self._wiring:
            if self._connection is not None:
                self._add_new(self._connection)

    def _add_new(self, connection: Connection) -> None:
        added, self._added = self._added, len(self._registrations)
        for one in self._registrations[added : self._added]:
            if one.alias == self._alias:
                one.add_to(connection, self._app)

    def _log(self, error: Exception, context: ErrorContext) -> None:
        """Where no handler of the app wants them, errors are told as Flask tells those of views."""
        if not any(one.verb == ON_ERROR and one.alias == self._alias for one in self._registrations):
            self._app.logger.error("owlsocket %r: %s: %s", self._alias, context, error, exc_info=error)


class AppService(SocketService):
    """A `SocketService` with the handlers of an app.

    Args:
        wiring: of these handlers.
        before: called with each new connection as well, before anything can come.
        options: those of `SocketService`.
    """

    def __init__(self, wiring: Wiring, *, before: Callable[[Connection], object] | None = None, **options: Any) -> None:
        self.wiring = wiring
        self._before = before
        super().__init__(setup=self._wire, **options)

    def _wire(self, connection: Connection) -> None:
        self.wiring.wire(connection)
        if self._before is not None:
            self._before(connection)

    def _begin_here(self) -> None:
        super()._begin_here()
        self.wiring.renew()

    def catch_up(self) -> None:
        """Give the connection the handlers that came after it."""
        self._arrive()
        self.wiring.catch_up()


class Source(Protocol):
    """Gives connections: the service of the app, or what stands in for it in a test."""

    @property
    def connection(self) -> Connection:
        """The connection of this process."""
        ...

    def catch_up(self) -> None:
        """Give the connection the handlers that came after it."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class AppState:
    """What ``app.extensions["owlsocket"]`` holds: the services of one app.

    Args:
        app: whose they are.
        owner: the extension.
        registrations: the handlers of the extension.
    """

    def __init__(self, app: Flask, owner: object, registrations: list[Registration]) -> None:
        read(app)  # a slip in a name is told now, and not to the first visitor
        self._app = app
        self.owner = owner
        self._registrations = registrations
        self._made: dict[str, Context] = {}
        self._stand_ins: dict[str, Source] = {}

    @property
    def context(self) -> Context:
        """The services, made of the configuration as it is when the first one is used.

        Raises:
            ConfigError: something in it cannot be used; the message names the key.
        """
        context = self._made.get("context")
        if context is None:
            made = Context(*(self.make_service(alias) for alias in read(self._app)))
            context = self._made.setdefault("context", made)  # of several threads, the first one's: in one step
        return context

    def make_service(self, alias: str, leave_out: tuple[str, ...] = (), **changes: Any) -> AppService:
        """A service as it is configured, with these changes; connects nothing.

        Raises:
            ConfigError: it cannot be made.
        """
        given = read(self._app).get(alias)
        if given is None and not leave_out:
            raise self._unknown(alias)
        settings = Settings(alias, given or {})
        options = {**settings.options(leave_out), **changes}
        try:
            return AppService(self.wiring(alias), alias=alias, **options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the configuration of the service {alias!r} cannot be used: {error}") from error

    def options(self, alias: str, names: Iterable[str]) -> dict[str, Any]:
        """What is configured of these options; raises `ConfigError` where one cannot be used."""
        return Settings(alias, read(self._app).get(alias, {})).options(OPTIONS.difference(names))

    def _unknown(self, alias: str) -> ConfigError:
        if alias == DEFAULT:
            return ConfigError("OWLSOCKET_URL is missing: it looks like 'wss://api.example.com/ws'")
        known = ", ".join(map(repr, read(self._app))) or "none at all"
        return ConfigError(f"there is no service {alias!r} in OWLSOCKET_SERVICES, but {known}")

    def source(self, alias: str) -> Source:
        """What gives the connection of this name.

        Raises:
            ConfigError: there is none, or it is configured wrongly.
        """
        stand_in = self._stand_ins.get(alias)
        if stand_in is not None:
            return stand_in
        found = self.context.find(alias)
        if not isinstance(found, AppService):
            raise self._unknown(alias)
        return found

    def connection(self, alias: str) -> Connection:
        """The connection of this process to this service; raises what `SocketService.connection` raises."""
        source = self.source(alias)
        try:
            return source.connection
        except ValueError as error:
            raise ConfigError(f"the configuration of the service {alias!r} cannot be used: {error}") from error

    def catch_up(self, alias: str) -> None:
        """Have the connection that there is, if any, get the handlers that came after it."""
        context = self._made.get("context")
        for one in (self._stand_ins.get(alias), context and context.find(alias)):
            if one is not None:
                cast(Source, one).catch_up()

    @contextmanager
    def standing_in(self, alias: str, source: Source) -> Iterator[None]:
        """Have this one give the connection inside the ``with`` block; it is closed at its end."""
        before = self._stand_ins.get(alias)
        self._stand_ins[alias] = source
        try:
            yield
        finally:
            if before is None:
                del self._stand_ins[alias]
            else:
                self._stand_ins[alias] = before
            source.close()

    def wiring(self, alias: str) -> Wiring:
        """The handlers of this service, for what stands in for it."""
        return Wiring(self._app, alias, self._registrations)

    def close(self) -> None:
        """Close the connections of this process; the next use makes new ones."""
        context = self._made.pop("context", None)
        if context is not None:
            context.close()
