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

from ...client import connect
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
        options: those of `SocketService`.
    """

    def __init__(self, wiring: Wiring, **options: Any) -> None:
        self.wiring = wiring
        super().__init__(setup=wiring.wire, **options)

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
        prefix: of the keys in the app's configuration.
        registrations: the handlers of the extension.
    """

    def __init__(self, app: Flask, owner: object, prefix: str, registrations: list[Registration]) -> None:
        read(app, prefix)  # a slip in a name is told now, and not to the first visitor
        self._app = app
        self.owner = owner
        self._prefix = prefix
        self._registrations = registrations
        self._made: dict[str, Context] = {}
        self._stand_ins: dict[str, Source] = {}
        self._instead: dict[str, dict[str, Any]] = {}

    @property
    def context(self) -> Context:
        """The services, made of the configuration as it is when the first one is used.

        Raises:
            ConfigError: something in it cannot be used; the message names the key.
        """
        context = self._made.get("context")
        if context is None:
            made = Context(*(self.make_service(alias) for alias in read(self._app, self._prefix)))
            context = self._made.setdefault("context", made)  # of several threads, the first one's: in one step
        return context

    def _given(self, alias: str) -> Mapping[str, Any]:
        given = read(self._app, self._prefix)
        if alias not in given and alias != DEFAULT:
            known = ", ".join(map(repr, given)) or "none at all"
            raise ConfigError(f"there is no service {alias!r} in {self._prefix}SERVICES, but {known}")
        return self._instead.get(alias) or given.get(alias, {})

    def options(self, alias: str, names: Iterable[str] = OPTIONS) -> dict[str, Any]:
        """What is configured of these options; raises `ConfigError` where one cannot be used."""
        return Settings(self._app.name, self._prefix, alias, self._given(alias)).options(OPTIONS.difference(names))

    def make_service(self, alias: str) -> AppService:
        """A service as it is configured; connects nothing.

        Raises:
            ConfigError: it cannot be made.
        """
        options = self.options(alias)
        try:
            return AppService(self.wiring(alias), alias=alias, **options)
        except (TypeError, ValueError) as error:
            raise self._unusable(alias, error) from error

    def _unusable(self, alias: str, error: Exception) -> ConfigError:
        return ConfigError(f"the configuration of the service {alias!r} cannot be used: {error}")

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
            self.options(alias)  # which tells what is missing
            raise ConfigError(
                f"the service {alias!r} is configured too late: another one is in use already; owl.close() ends that"
            )
        return found

    def connection(self, alias: str) -> Connection:
        """The connection of this process to this service; raises what `SocketService.connection` raises."""
        source = self.source(alias)
        try:
            return source.connection
        except ValueError as error:
            raise self._unusable(alias, error) from error

    @contextmanager
    def connecting(self, alias: str, **changes: Any) -> Iterator[Connection]:
        """A connection on its way, for one command; without handlers: those belong to processes that stay.

        Raises:
            ConfigError: it is configured wrongly.
        """
        stand_in = self._stand_ins.get(alias)
        if stand_in is not None and alias not in self._instead:
            yield stand_in.connection
            return
        options = {**self.options(alias), **changes, "reconnect": None, "wait": False}
        try:
            connection = connect(**options)
        except (TypeError, ValueError) as error:
            raise self._unusable(alias, error) from error
        with connection:
            yield connection

    def catch_up(self, alias: str) -> None:
        """Have the connection that there is, if any, get the handlers that came after it."""
        context = self._made.get("context")
        for one in (self._stand_ins.get(alias), context and context.find(alias)):
            if one is not None:
                cast(Source, one).catch_up()

    @contextmanager
    def standing_in(self, alias: str, source: Source) -> Iterator[None]:
        """Have this one give the connection inside the ``with`` block; it is closed at its end."""
        with _set(self._stand_ins, alias, source):
            try:
                yield
            finally:
                source.close()

    @contextmanager
    def leading_to(self, url: str, alias: str, leave_out: Iterable[str]) -> Iterator[None]:
        """Have a service lead there inside the ``with`` block, without these options."""
        kept = {name: value for name, value in self._given(alias).items() if name not in leave_out}
        with (
            _set(self._instead, alias, {**kept, "url": url}),
            self.standing_in(alias, self.make_service(alias)),
        ):
            yield

    def wiring(self, alias: str) -> Wiring:
        """The handlers of this service, for what stands in for it."""
        return Wiring(self._app, alias, self._registrations)

    def close(self) -> None:
        """Close the connections of this process; the next use makes new ones."""
        context = self._made.pop("context", None)
        if context is not None:
            context.close()


@contextmanager
def _set(table: dict[str, Any], key: str, value: Any) -> Iterator[None]:
    """Have this in the table inside the ``with`` block, and afterwards what was there before."""
    before = dict(table)
    table[key] = value
    try:
        yield
    finally:
        del table[key]
        if key in before:
            table[key] = before[key]
