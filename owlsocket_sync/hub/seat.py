"""`Seat`: the place of one connection of a server in its hub.

Threads: ``_rooms_lock`` of the hub guards the rooms of a seat. The bus is told after its release, by any number of
threads at once: each looks afterwards whether what it told still holds, and tells it again otherwise. So the last thing
that a bus hears of a seat in a room is the truth, and a connection that ends while it joins leaves no ghost.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from ..connection import Connection
from ..core.deferred_calls import TimedFuture
from ..errors import SocketConnectionError
from ..errors.marshalled import unsent
from ..errors.safe_text import logger
from ..protocol.json_values import from_json, to_json
from ..protocol.messages import Message
from ..protocol.settings import Settings
from .base import Bus
from .rooms import RoomTable, check_room, user_of
from .values import Member


class Outlet(Protocol):
    """Sends to one client without waiting for it; `owlsocket_sync.server.outbox.Outbox`.

    Attributes:
        settings: of the connection.
        compression: links with the same one have the same frames.
    """

    settings: Settings
    compression: Any

    @property
    def message_size(self) -> int:
        """The most bytes of a message."""
        ...

    @property
    def is_open(self) -> bool:
        """True until the link of the client ends."""
        ...

    def encode(self, message: Message) -> bytes:
        """Return the text of a message, as the hook ``prepare`` leaves it."""
        ...

    def frame(self, data: bytes) -> tuple[bytes, int]:
        """Return the frame of a text, and the size of the text."""
        ...

    def send(self, frame: bytes, size: int) -> bool:
        """Send a frame, or queue it; false if it is dropped."""
        ...

    def report(self, error: Exception, event: str) -> None:
        """Report an error to the handlers of the connection."""
        ...


class HubServer(NamedTuple):
    """A server of a hub.

    Attributes:
        name: of the server, which need not be unique.
        message_size: the most bytes of a message to its clients.
        outlets: returns the outlets of all its clients.
    """

    name: str
    message_size: int
    outlets: Callable[[], Sequence[Outlet]]


class SeatClient(Protocol):
    """The client of a server, as its seat sees it.

    Attributes:
        connection: the connection.
    """

    connection: Connection

    def submit_now(
        self, method: str, payload: tuple[Any, ...], timeout: float | None, extra: dict[str, str] | None
    ) -> TimedFuture:
        """Call a method of the client, without waiting for anything."""
        ...

    def managed_block(self) -> AbstractContextManager[None]:
        """Return the context manager around a wait of a handler."""
        ...

    def begin_closing(self, code: int, reason: str) -> None:
        """Send a close frame without waiting."""
        ...


class SeatHub(Protocol):
    """The hub of a seat."""

    @property
    def node(self) -> str:
        """The id of the node."""
        ...

    @property
    def table(self) -> RoomTable:
        """The seats of the node."""
        ...

    def open(self) -> Bus:
        """Return the bus; raise `SocketConnectionError` once the hub is closed."""
        ...

    def open_bus(self) -> Bus | None:
        """Return the bus, if it was opened and not closed."""
        ...


class Seat:
    """The place of a connection in a hub; see `owlsocket_sync.protocol.membership.Membership`.

    Args:
        hub: the hub.
        server: the server that has the connection, as the hub names it.
        client: the client.
        outlet: sends to the client.

    Attributes:
        known_id: the id, ``None`` before it was asked for; a connection that is never named needs none.
        members: the rooms, with the member that the connection is there; changed by the table.
        untold: rooms of which the bus may know something else, after an interrupt; changed by the table.
        user: who has authenticated.
        ended: the connection has ended.
    """

    __slots__ = ("_hub", "_server", "client", "ended", "known_id", "members", "outlet", "untold", "user")

    def __init__(self, hub: SeatHub, server: str, client: SeatClient, outlet: Outlet) -> None:
        self._hub = hub
        self._server = server
        self.client = client
        self.outlet = outlet
        self.known_id: str | None = None
        self.members: dict[str, Member] = {}
        self.untold: dict[str, None] = {}
        self.user: str | None = None
        self.ended = False

    @property
    def id(self) -> str:
        """The id of the connection: that of the node, and a part that cannot be guessed."""
        if self.known_id is None:
            self._hub.table.set_id(self, f"{self._hub.node}-{secrets.token_hex(8)}")
        return self.known_id  # type: ignore[return-value]  # it has one now

    @property
    def rooms(self) -> list[str]:
        """The rooms, in the order in which they were joined."""
        # One step of the interpreter: other threads may join and leave.
        return list(self.members.copy())

    def set_identity(self, identity: Any) -> None:
        """Note who has authenticated on the connection."""
        user = user_of(identity)
        if user != self.user:
            self._hub.table.set_user(self, user)

    def join(self, room: str, info: Any) -> None:
        """Join a room; see `owlsocket_sync.Connection.join`."""
        check_room(room)
        self._hub.open()
        # As every server gives it back: what its owner changes later is not seen here alone.
        member = Member(self.id, self.user, self._server, None if info is None else from_json(to_json(info, "info")))
        before = self.members.get(room)
        if not self._hub.table.enter(self, room, member):
            raise unsent(SocketConnectionError(f"the connection {self.id} is closed, and cannot join {room!r}"))
        try:
            self._tell(room)
        except BaseException:  # it is not a member that others see, so it is none
            self._hub.table.restore(self, room, member, before)
            raise

    def leave(self, room: str) -> None:
        """Leave a room; see `owlsocket_sync.Connection.leave`."""
        check_room(room)
        if self._hub.table.exit(self, room):
            self._tell(room)

    def end(self) -> None:
        """Leave all rooms, once the connection has ended; never raises an `Exception`."""
        for room in self._hub.table.end(self):
            try:
                self._tell(room)
            except Exception:
                logger.exception("%s: leaving the room %r failed", self.id, room)

    def _tell(self, room: str) -> None:
        """Tell the bus whether the connection is in a room, until that is what it heard last."""
        bus = self._hub.open_bus()
        latest: Member | object | None = bus  # nothing yet
        while bus is not None:
            member = self.members.get(room)
            if member is latest:
                self.untold.pop(room, None)
                return
            if member is None:
                bus.leave(room, self.id)
            else:
                bus.join(room, member)
            latest = member

    # -- by the hub --------------------------------------------------------------------------------------------------

    def call(self, method: str, payload: Sequence[Any], timeout: float | None) -> Any:
        """Call a method of the client, and wait for the result."""
        return self.client.connection.call(method, *payload, timeout=timeout)

    def submit(
        self, method: str, payload: Sequence[Any], timeout: float | None, extra: dict[str, str] | None = None
    ) -> TimedFuture:
        """Call a method of the client, without waiting for anything; ``extra`` came with it from another server."""
        return self.client.submit_now(method, tuple(payload), timeout, extra)
