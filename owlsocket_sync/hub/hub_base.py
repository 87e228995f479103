"""`HubBase`: what a hub is without its verbs: a bus that is opened at the first use, and the node of this process.

Threads: ``_opening_lock`` guards whether the bus is open; while it is held the bus is opened, which waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import getpid
from types import TracebackType
from typing import Any, TypeVar

from .. import fork
from ..connection import Connection
from ..errors import SocketConnectionError
from ..errors.marshalled import unsent
from ..fork import PROCESS
from ..locks import make_process_lock
from ..protocol.subscriptions import Registry
from .base import Bus, node_of
from .node import HubNode
from .requests import unknown
from .rooms import RoomTable
from .seat import HubServer, Seat
from .values import Member

HubT = TypeVar("HubT", bound="HubBase")
ConnectionName = str | Connection | Member
"""An id, or what has one."""
Excluded = ConnectionName | Iterable[ConnectionName]


class HubBase:
    """The life of a hub.

    Args:
        bus: carries it.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._closed = False
        self._handlers: Registry[Callable[..., Any]] = Registry(make_process_lock())
        self._begin()
        fork.register(self)

    def _begin(self) -> None:
        self._opening_lock = make_process_lock()
        self._is_open = False
        self._node = HubNode(self._bus, self._handlers)

    # -- by the servers ----------------------------------------------------------------------------------------------

    @property
    def node(self) -> str:
        """The id of this process in the hub."""
        fork.ensure_process()
        return self._node.id

    @property
    def table(self) -> RoomTable:
        """The connections of this process."""
        return self._node.table

    def attach(self, server: HubServer) -> str:
        """Add a server, and return its name in the hub."""
        bus = self.listen()
        name, number = f"{server.name}@{self.node}", 2
        while name in self.table.servers:
            name, number = f"{server.name}-{number}@{self.node}", number + 1
        self.table.add_server(name, server)
        try:
            bus.add_server(name)
        except BaseException:  # it will not serve
            self.table.remove_server(name)
            raise
        return name

    def detach(self, name: str) -> None:
        """Remove a server that is closed."""
        bus = self.open_bus()
        if self.table.remove_server(name) and bus is not None:
            bus.remove_server(name)

    def _find(self, to: ConnectionName) -> tuple[str, Seat | None]:
        """Return the id of a connection, and its seat if it is one of this process.

        Raises:
            SocketConnectionError: it was one of this process, and has ended; or it never was.
        """
        id = id_of(to)
        seat = self.table.seats.get(id)
        if seat is None and node_of(id) in ("", self.node, id):
            raise unknown(id)
        return id, seat

    # -- the life of a hub -------------------------------------------------------------------------------------------

    def open(self) -> Bus:
        """Return the bus of this process, opened at its first use.

        Raises:
            SocketConnectionError: the hub is closed.
        """
        # Compared here, not by a call: every broadcast passes through.
        if getpid() != PROCESS.id:
            fork.ensure_process()
        if not self._is_open:
            with self._opening_lock:
                if self._closed:
                    error = unsent(SocketConnectionError("the hub is closed"))
                    error.retryable = False
                    raise error
                if not self._is_open:
                    self._bus.open(self._node.id, self._node)
                    self._is_open = True
        return self._bus

    def listen(self) -> Bus:
        """Return the bus once this node takes what comes to it.

        Raises:
            SocketConnectionError: the hub is closed.
        """
        bus = self.open()
        bus.listen()
        return bus

    def open_bus(self) -> Bus | None:
        """Return the bus if it is open."""
        fork.ensure_process()
        return self._bus if self._is_open else None

    def close(self) -> None:
        """Leave the hub: the connections of this process leave their rooms, and go on; idempotent."""
        fork.ensure_process()
        with self._opening_lock:
            was_open, self._is_open, self._closed = self._is_open, False, True
        if was_open:
            self._bus.close()
        self.table.clear_rooms()
        self._node.end(SocketConnectionError("the hub was closed"))

    def after_fork(self) -> None:
        """Begin without connections and without the bus of the parent; in a forked child."""
        self._handlers.use_lock(make_process_lock())
        self._begin()

    def __enter__(self: HubT) -> HubT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node}{' closed' if self._closed else ''}>"


def id_of(connection: ConnectionName) -> str:
    """Return the id of a connection, of which a caller has any name."""
    if isinstance(connection, str):
        return connection
    if isinstance(connection, (Connection, Member)):
        return connection.id
    what = "by its id, as a Member or as a Connection"
    raise TypeError(f"a connection is named {what}, not by a value of type {type(connection).__name__}")


def ids_of(connections: Excluded) -> list[str]:
    """Return the ids of one connection, or of several."""
    if isinstance(connections, (str, Connection, Member)) or not isinstance(connections, Iterable):
        return [id_of(connections)]
    return [id_of(connection) for connection in connections]
