"""``clients`` and ``client``: one connection per process for each entry of ``OWLSOCKET``.

Threads: a `Client` belongs to all threads of all processes; its `SocketService` sees to it that each process has one
connection. The table of clients is a namespace whose entries are set in one step, so it needs no lock.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import transaction
from django.utils.connection import BaseConnectionHandler, ConnectionDoesNotExist, ConnectionProxy

from ...connection import Connection
from ...context import Context, SocketService
from ...protocol.codec import encode_event
from ...protocol.messages import EventMessage
from ...stages import ConnectionState, StateChange
from . import signals
from .configuration import Configuration
from .database import fresh_connections
from .registry import Entry, Wiring, entries

SETTING = "OWLSOCKET"
DEFAULT = "default"


class ClientDoesNotExist(ConnectionDoesNotExist):  # type: ignore[misc]
    """``OWLSOCKET`` has no entry of this alias."""


class _Service(SocketService):
    """Finds out who we are when it first connects: by then all apps are loaded."""

    def __init__(self, configuration: Configuration, setup: Any) -> None:
        options = configuration.options
        super().__init__(configuration.url, alias=options.get("name", configuration.alias), setup=setup, **options)
        self._configuration = configuration

    def configure(self, context: Context) -> None:
        """Read tokens, keys and logins from where the settings say they are."""
        self._credentials = self._configuration.credentials()


class Client:
    """The connection of one alias, as a project uses it; from any thread.

    Whatever a `Connection` can do, this can: the first use in a process connects, and so does the first one after
    `close`. What is set on a connection, such as ``prepare``, is set on ``client.connection``.

    Attributes:
        alias: its name in ``OWLSOCKET``.
    """

    __slots__ = ("__weakref__", "_configuration", "_service", "_wiring", "alias")

    def __init__(self, alias: str, configuration: Configuration) -> None:
        self.alias = alias
        self._configuration = configuration
        self._wiring: Wiring | None = None
        self._service = self._new_service()

    def _new_service(self) -> _Service:
        service = _Service(self._configuration, self._set_up)
        Context(service)
        return service

    @property
    def connection(self) -> Connection:
        """The connection of this process, made now if there is none.

        Raises:
            SocketTimeout: no connection within its timeout; and what else `owlsocket_sync.connect` raises.
            ImproperlyConfigured: the settings name a token, a key or a login that cannot be had.
        """
        return self._service.connection

    @property
    def connected(self) -> bool:
        """Whether this process has a link that is open; asking does not connect."""
        connection = self.current
        return connection is not None and connection.state is ConnectionState.OPEN

    @property
    def current(self) -> Connection | None:
        """The connection of this process, ``None`` when it has none; asking does not connect."""
        wiring = self._wiring
        if wiring is None or wiring.process != os.getpid() or wiring.connection.state is ConnectionState.CLOSED:
            return None
        return wiring.connection

    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Any:
        """Call a method of the server and wait for its answer, as `Connection.call` does."""
        return self.connection.call(method, *payload, timeout=timeout, result_type=result_type, retry=retry)

    def notify(self, event: str, payload: Any = None) -> None:
        """Send an event now, as `Connection.notify` does; see `notify_on_commit`."""
        self.connection.notify(event, payload)

    def notify_on_commit(
        self, event: str, payload: Any = None, *, using: str | None = None, robust: bool = False
    ) -> None:
        """Send an event once the transaction around this is committed; at once outside of one, never after a rollback.

        What is sent is the payload as it is now. An event that cannot be sent any more after the commit raises where
        the transaction ends, as functions given to ``transaction.on_commit`` do.

        Args:
            event: its name.
            payload: anything that JSON can carry.
            using: the alias of the database whose transaction it is.
            robust: log what goes wrong while it is sent, and go on.

        Raises:
            SocketMessageMalformed: the payload cannot be sent as JSON; nothing is committed yet.
        """
        if not isinstance(event, str):
            raise TypeError(f"event must be text, not {type(event).__name__}")
        encode_event(event, payload, None, None)
        kept = copy.deepcopy(payload)

        def notify() -> None:  # no partial: Django wants to call it by its name when it logs
            self.notify(event, kept)

        transaction.on_commit(notify, using=using, robust=robust)

    def close(self) -> None:
        """Close the connection of this process; the next use makes a new one. Idempotent."""
        service, self._service = self._service, self._new_service()
        service.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(Connection, name):
            raise AttributeError(f"a client has no {name!r}; what is set on a connection is at client.connection")
        return getattr(self.connection, name)

    def __repr__(self) -> str:
        return f"<Client {self.alias!r}: {self.current or 'not connected'}>"

    # -- what a new connection gets ----------------------------------------------------------------------------------

    def _set_up(self, connection: Connection) -> None:
        self._wiring = wiring = Wiring(connection)
        connection.on_state(partial(self._tell_state, wiring))
        connection.observe("*", self._tell_event)
        for entry in list(entries):
            self._add(entry)
        if connection.state is ConnectionState.OPEN:  # so soon that nobody may have been told
            self._tell_first(wiring)

    def _add(self, entry: Entry) -> None:
        """Register a handler that is ours, where there is a connection already."""
        wiring = self._wiring
        if wiring is not None and entry.using == self.alias:
            wiring.add(entry)

    def _tell_state(self, wiring: Wiring, change: StateChange) -> None:
        if change.state is ConnectionState.OPEN:
            if change.previous is ConnectionState.CONNECTING:
                self._tell_first(wiring)
            else:
                self._send(signals.connected)
        elif change.previous is ConnectionState.OPEN:
            self._send(signals.disconnected, code=change.code, reason=change.reason, error=change.error)

    def _tell_first(self, wiring: Wiring) -> None:
        if wiring.first("connected"):
            self._send(signals.connected)

    def _tell_event(self, message: EventMessage) -> None:
        if signals.event_received.receivers:
            self._send(signals.event_received, message=message)

    def _send(self, signal: Any, **news: Any) -> None:
        with fresh_connections():
            signal.send_robust(sender=Client, client=self, **news)


class Clients(BaseConnectionHandler):  # type: ignore[misc]
    """The clients by alias: ``clients["default"]``; each is made when it is first asked for, and connects later yet.

    Args:
        settings: in place of the setting ``OWLSOCKET``.
    """

    settings_name = SETTING
    exception_class = ClientDoesNotExist

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._given = settings
        self._connections = SimpleNamespace()  # in place of asgiref's Local, which would be one for each thread

    def configure_settings(self, settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The setting, once it is seen that there is a default.

        Raises:
            ImproperlyConfigured: it is missing, or has no default.
        """
        try:
            found = super().configure_settings(settings)
        except AttributeError:
            found = None
        if not isinstance(found, Mapping) or DEFAULT not in found:
            raise ImproperlyConfigured(
                f'the setting {SETTING} must say where to connect to: {SETTING} = {{"default": {{"URL": "wss://…"}}}}'
            )
        return found

    def create_connection(self, alias: str) -> Client:
        """A client; connects nothing. Raises `ImproperlyConfigured` when its settings cannot be used."""
        return Client(alias, self.configuration(alias))

    def configuration(self, alias: str) -> Configuration:
        """What the settings say of an alias.

        Raises:
            ClientDoesNotExist: nothing.
            ImproperlyConfigured: what cannot be used; the message names it.
        """
        if alias not in self.settings:
            known = ", ".join(map(repr, self.settings))
            raise self.exception_class(f"{SETTING} has no {alias!r}, but {known}")
        return Configuration.read(alias, self.settings[alias])

    def __getitem__(self, alias: str) -> Client:
        table = vars(self._connections)
        found = table.get(alias)
        if found is None:
            found = table.setdefault(alias, self.create_connection(alias))
        return cast(Client, found)

    def announce(self, entry: Entry) -> None:
        """Give a new handler to the connection that is there already; others will find it themselves."""
        client = vars(self._connections).get(entry.using)
        if client is not None:
            client._add(entry)

    def autostart(self) -> list[Client]:
        """Connect those with ``AUTOSTART``, and return them; for programs that run long and wait for what comes.

        Web workers need no such thing: each of them would get every event. Raises what `Client.connection` raises.
        """
        started = [self[alias] for alias in self if self.configuration(alias).autostart]
        for one in started:
            _ = one.connection
        return started

    def reset(self) -> None:
        """Close all connections of this process, and read the settings anew when they are next asked for."""
        known, self._connections = self._connections, SimpleNamespace()
        self._settings = self._given
        self.__dict__.pop("settings", None)
        for one in list(vars(known).values()):
            one.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)


def _reset(*, setting: str, **_: Any) -> None:
    if setting == SETTING:
        clients.reset()


clients = Clients()
"""The clients by alias: ``clients["default"]``."""
client: Client = ConnectionProxy(clients, DEFAULT)
"""The client of the alias ``default``."""
setting_changed.connect(_reset, dispatch_uid="owlsocket")
