"""``clients`` and ``client``: one connection per process for each entry of ``OWLSOCKET``.

Threads: a `Client` is shared by all threads, and inherited by forked processes; its `SocketService` makes one
connection per process. This module has no locks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import transaction
from django.utils.connection import BaseConnectionHandler, ConnectionDoesNotExist, ConnectionProxy

from ...connection import Connection
from ...context import Context, SocketService
from ...errors import SocketConnectionError
from ...fork import PerProcess
from ...protocol.codec import encode_event
from ...protocol.messages import EventMessage
from ...states import ConnectionState, StateChange
from ..typed_verbs import TypedVerbs
from . import signals
from .configuration import Configuration
from .database import fresh_connections
from .registry import Bindings, CurrentBindings, HandlerEntry, handler_entries

if TYPE_CHECKING:
    from ...hub import Hub

SETTING = "OWLSOCKET"
DEFAULT = "default"
HUB = "hub"


class ClientDoesNotExist(ConnectionDoesNotExist):  # type: ignore[misc]
    """``OWLSOCKET`` has no entry of this alias."""


class _ClientService(SocketService):
    """Service of a client; reads the credentials at the first connection."""

    def __init__(self, configuration: Configuration, setup: Any) -> None:
        options = configuration.options
        url = configuration.url or str  # which is never called: without a URL, configure() raises first
        super().__init__(url, alias=options.get("name", configuration.alias), setup=setup, **options)
        self._configuration = configuration

    def configure(self, context: Context) -> None:
        """Read the tokens, keys, logins and queues that the settings refer to."""
        # Not in the constructor: the settings name project code, which cannot be imported before all apps are loaded.
        self._configuration.find_url()
        self._use_credentials(**self._configuration.late_options())


class Client(TypedVerbs):
    """The connection of one alias; from any thread.

    A client has all methods of a `Connection`: the first use in a process connects, and so does the first use after
    `close`. Settable attributes, such as ``prepare``, are on ``client.connection``.

    Attributes:
        alias: name of the entry in ``OWLSOCKET``.
    """

    __slots__ = ("__weakref__", "_bindings", "_configuration", "_hubs", "_service", "alias")

    def __init__(self, alias: str, configuration: Configuration) -> None:
        self.alias = alias
        self._configuration = configuration
        self._bindings = PerProcess(CurrentBindings)
        self._service = self._new_service()
        self._hubs: dict[str, Hub] = {}

    def _new_service(self) -> _ClientService:
        service = _ClientService(self._configuration, self._set_up)
        Context(service)  # registers itself in the service, and configures it at the first connection
        return service

    @property
    def connection(self) -> Connection:
        """The connection of this process; connects if there is none.

        Raises:
            SocketTimeout: no connection within the timeout; `owlsocket_sync.connect` lists further errors.
            ImproperlyConfigured: a token, a key or a login of the settings is not usable.
        """
        return self._service.connection

    def _use(self, timeout: float | None = None) -> tuple[Connection, float | None]:
        return self._service.use(timeout)

    @property
    def connected(self) -> bool:
        """Return whether the connection of this process is open; does not connect."""
        connection = self.current
        return connection is not None and connection.state is ConnectionState.OPEN

    @property
    def current(self) -> Connection | None:
        """The connection of this process, or ``None``; does not connect."""
        bindings = self._bindings.get().latest
        if bindings is None or bindings.connection.state is ConnectionState.CLOSED:
            return None
        return bindings.connection

    @property
    def hub(self) -> Hub:
        """The hub of ``HUB``; in any process, whether it serves clients or not.

        Raises:
            ImproperlyConfigured: there is none, or its value is not usable.
        """
        # Set in one step: threads that race to here use the same one, and the others opened nothing.
        return self._hubs.get(HUB) or self._hubs.setdefault(HUB, self._configuration.make_hub())

    def publish_on_commit(
        self,
        event: str,
        payload: Any = None,
        *,
        room: str | None = None,
        using: str | None = None,
        robust: bool = False,
    ) -> None:
        """Publish an event to all clients of the hub, or to a room, on commit, as `notify_on_commit` does."""
        encode_event(event, payload, None, None)
        hub, snapshot = self.hub, copy.deepcopy(payload)

        def publish() -> None:
            hub.publish(event, snapshot, room=room)

        transaction.on_commit(publish, using=using, robust=robust)

    def notify(self, event: str, payload: Any = None) -> None:
        """Send an event now, as `Connection.notify` does; see `notify_on_commit`."""
        self._service.use()[0].notify(event, payload)

    def enqueue(self, payload: Any, id: str | None = None) -> None:
        """Put a message on the peer's queue, as `Connection.enqueue` does; with ``OUTBOX``, also while it is away."""
        self._service.enqueue(payload, id)

    def notify_on_commit(
        self, event: str, payload: Any = None, *, using: str | None = None, robust: bool = False
    ) -> None:
        """Send an event when the current transaction commits; at once without a transaction, never after a rollback.

        The payload is copied now. If the event cannot be sent after the commit, the error is raised at the end of the
        transaction, as from any function of ``transaction.on_commit``.

        Args:
            event: name of the event.
            payload: any JSON value.
            using: alias of the database of the transaction.
            robust: log an error of sending and go on.

        Raises:
            SocketMessageMalformed: the payload is not JSON; nothing is committed yet.
        """
        if not isinstance(event, str):
            raise TypeError(f"event must be text, not {type(event).__name__}")
        # A payload that is not JSON must fail here, inside the transaction, which is then rolled back.
        encode_event(event, payload, None, None)
        snapshot = copy.deepcopy(payload)

        def notify() -> None:  # not a partial: Django logs the __qualname__ of a function that fails
            self.notify(event, snapshot)

        transaction.on_commit(notify, using=using, robust=robust)

    def close(self) -> None:
        """Close the connection of this process; the next use connects again. Idempotent."""
        # The new service first: a thread that uses the client meanwhile gets a new connection, and not a closed one.
        service, self._service = self._service, self._new_service()
        service.close()

    def __getattr__(self, name: str) -> Any:
        # Not forwarded: copy, pickle and consoles probe such names, and a probe must not connect.
        if name.startswith("_") or not hasattr(Connection, name):
            raise AttributeError(f"Client has no attribute {name!r}; settable attributes are on client.connection")
        return getattr(self._service.use()[0], name)

    def __repr__(self) -> str:
        return f"<Client {self.alias!r}: {self.current or 'not connected'}>"

    # -- handlers of a new connection --------------------------------------------------------------------------------

    def register_handler(self, entry: HandlerEntry) -> None:
        """Register a handler of this alias on the connection of this process, if there is one."""
        bindings = self._bindings.get().latest
        if bindings is not None and entry.using == self.alias:
            with suppress(SocketConnectionError):  # it is closed: the next connection gets all handlers
                bindings.add(entry)

    def _set_up(self, connection: Connection) -> None:
        # Set before the handlers are read: a handler that is added meanwhile is in the list, or finds these bindings.
        self._bindings.get().latest = bindings = Bindings(connection)
        connection.on_state(partial(self._on_state, bindings))
        connection.observe("*", self._on_event)
        for entry in list(handler_entries):
            self.register_handler(entry)
        # The link may have opened before on_state() was registered: then no state change follows.
        if connection.state is ConnectionState.OPEN:
            self._send_connected_once(bindings)

    def _on_state(self, bindings: Bindings, change: StateChange) -> None:
        if change.state is ConnectionState.OPEN:
            if change.previous is ConnectionState.CONNECTING:
                self._send_connected_once(bindings)
            else:
                self._send(signals.connected)
        elif change.previous is ConnectionState.OPEN:
            self._send(signals.disconnected, code=change.code, reason=change.reason, error=change.error)

    def _send_connected_once(self, bindings: Bindings) -> None:
        if bindings.claim("connected"):
            self._send(signals.connected)

    def is_idle_observer(self, handler: Any) -> bool:
        """Return whether a handler is the one that sends the signal ``event_received``, which has no receivers."""
        return bool(handler == self._on_event and not signals.event_received.receivers)

    def _on_event(self, message: EventMessage) -> None:
        if signals.event_received.receivers:  # most projects have none: spare them the database checks
            self._send(signals.event_received, message=message)

    def _send(self, signal: Any, **arguments: Any) -> None:
        with fresh_connections():
            # Robust: a receiver that fails is logged, and must not keep the other receivers from the signal.
            signal.send_robust(sender=Client, client=self, **arguments)


class Clients(BaseConnectionHandler):  # type: ignore[misc]
    """Clients by alias: ``clients["default"]``; a client is created at the first access, and connects at its first use.

    Args:
        settings: value to use in place of the setting ``OWLSOCKET``.
    """

    settings_name = SETTING
    exception_class = ClientDoesNotExist

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._custom_settings = settings
        # In place of asgiref's Local, which has one table per thread: clients are shared by all threads. Entries are
        # set by setdefault(), which is atomic, so the table needs no lock.
        self._connections = SimpleNamespace()

    def configure_settings(self, settings: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the setting, after checking that it has a default.

        Raises:
            ImproperlyConfigured: the setting is missing, or has no default.
        """
        try:
            configured = super().configure_settings(settings)
        except AttributeError:
            configured = None
        if not isinstance(configured, Mapping) or DEFAULT not in configured:
            raise ImproperlyConfigured(
                f'the setting {SETTING} has no default URL: set {SETTING} = {{"default": {{"URL": "wss://…"}}}}'
            )
        return configured

    def create_connection(self, alias: str) -> Client:
        """Create a client without connecting; raises `ImproperlyConfigured` if its settings are invalid."""
        return Client(alias, self.configuration(alias))

    def configuration(self, alias: str) -> Configuration:
        """Return the configuration of an alias.

        Raises:
            ClientDoesNotExist: the settings have no such alias.
            ImproperlyConfigured: the entry is invalid; the message names the place of the error.
        """
        if alias not in self.settings:
            known = ", ".join(map(repr, self.settings))
            raise self.exception_class(f"{SETTING} has no alias {alias!r}; known aliases: {known}")
        return Configuration.read(alias, self.settings[alias])

    def __getitem__(self, alias: str) -> Client:
        table = vars(self._connections)
        existing = table.get(alias)
        if existing is None:
            # Threads may race to here: all of them get the client that was stored first; the others connected nothing.
            existing = table.setdefault(alias, self.create_connection(alias))
        return cast(Client, existing)

    def register_handler(self, entry: HandlerEntry) -> None:
        """Register a new handler on the existing connection of its alias; later connections read the list."""
        existing = vars(self._connections).get(entry.using)
        if existing is not None:
            existing.register_handler(entry)

    def autostart(self) -> list[Client]:
        """Connect the clients with ``AUTOSTART`` and return them; for long-running programs that handle events.

        Not for web workers: each worker would receive every event. Raises what `Client.connection` raises.
        """
        started = [self[alias] for alias in self if self.configuration(alias).autostart]
        for client in started:
            _ = client.connection
        return started

    def reset(self) -> None:
        """Close all connections of this process, and read the settings again at the next use."""
        former, self._connections = self._connections, SimpleNamespace()
        self._settings = self._custom_settings
        self.__dict__.pop("settings", None)  # a cached_property of Django's base class
        for client in list(vars(former).values()):
            client.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)


def _reset(*, setting: str, **_: Any) -> None:
    """Reload the clients when a test overrides the setting."""
    if setting == SETTING:
        clients.reset()


class Hubs:
    """The hubs of the clients, by alias."""

    def __getitem__(self, alias: str) -> Hub:
        return clients[alias].hub


clients = Clients()
"""The clients by alias: ``clients["default"]``."""
# A proxy: importing it reads no settings, and after a reset it leads to the new client.
client: Client = ConnectionProxy(clients, DEFAULT)
"""The client of the alias ``default``."""
hub: Hub = ConnectionProxy(Hubs(), DEFAULT)
"""The hub of the alias ``default``."""
# With a uid: the module may be imported twice, and a second receiver would close new connections.
setting_changed.connect(_reset, dispatch_uid="owlsocket")
