"""The connections of this process that are in a hub, by id, room and user.

Threads: ``_rooms_lock`` guards the tables, and the rooms of each seat; held for a few instructions, a leaf. Nothing is
sent, and no bus is asked, while it is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..locks import make_process_lock
from ..protocol.oversize import too_large
from .values import Member, Publication

if TYPE_CHECKING:
    from .seat import HubServer, Outlet, Seat


class RoomTable:
    """The tables of one hub in one process.

    Attributes:
        seats: the connections that have an id, by it; looked into without the lock.
        servers: the servers of this process; replaced, and never changed.
    """

    def __init__(self) -> None:
        self._rooms_lock = make_process_lock()
        self.seats: dict[str, Seat] = {}
        self.servers: dict[str, HubServer] = {}
        self._rooms: dict[str, dict[Seat, None]] = {}
        self._users: dict[str, dict[Seat, None]] = {}
        self._set_servers({})

    # -- servers -----------------------------------------------------------------------------------------------------

    def add_server(self, name: str, server: HubServer) -> None:
        """Add a server."""
        with self._rooms_lock:
            self._set_servers({**self.servers, name: server})

    def remove_server(self, name: str) -> bool:
        """Remove a server; return whether it was there."""
        with self._rooms_lock:
            is_there = name in self.servers
            self._set_servers({other: server for other, server in self.servers.items() if other != name})
        return is_there

    def _set_servers(self, servers: dict[str, HubServer]) -> None:
        self._all: Callable[[], Sequence[Outlet]]
        self._smallest_message = min((server.message_size for server in servers.values()), default=float("inf"))
        lists = [server.outlets for server in servers.values()]
        # A broadcast to all clients of one server takes their list as it is.
        self._all = lists[0] if len(lists) == 1 else lambda: [outlet for outlets in lists for outlet in outlets()]
        self.servers = servers

    # -- seats -------------------------------------------------------------------------------------------------------

    def set_id(self, seat: Seat, id: str) -> None:
        """Give a seat this id, unless it has one."""
        with self._rooms_lock:
            if seat.known_id is None:
                seat.known_id = id
                if not seat.ended:
                    self.seats[id] = seat

    def set_user(self, seat: Seat, user: str | None) -> None:
        """Note who has authenticated on a connection."""
        with self._rooms_lock:
            _drop(self._users, seat.user, seat)
            seat.user = user
            if user is not None and not seat.ended:
                self._users.setdefault(user, {})[seat] = None

    def enter(self, seat: Seat, room: str, member: Member) -> bool:
        """Put a seat into a room; false once its connection has ended."""
        with self._rooms_lock:
            if seat.ended:
                return False
            seat.untold[room] = None
            seat.members[room] = member
            self._rooms.setdefault(room, {})[seat] = None
        return True

    def restore(self, seat: Seat, room: str, member: Member, before: Member | None) -> None:
        """Undo `enter`, unless the membership was changed since."""
        with self._rooms_lock:
            if seat.members.get(room) is member:
                if before is not None:
                    seat.members[room] = before
                else:
                    del seat.members[room]
                    _drop(self._rooms, room, seat)

    def exit(self, seat: Seat, room: str) -> bool:
        """Take a seat out of a room; return whether it was there, as far as the bus knows."""
        with self._rooms_lock:
            if room in seat.members:
                seat.untold[room] = None
                del seat.members[room]
            _drop(self._rooms, room, seat)
        return room in seat.untold

    def end(self, seat: Seat) -> list[str]:
        """Take a seat, whose connection has ended, out of all tables; return its rooms, once."""
        with self._rooms_lock:
            seat.ended = True
            rooms = list({**seat.members, **seat.untold})
            seat.members.clear()
            for room in rooms:
                _drop(self._rooms, room, seat)
            _drop(self._users, seat.user, seat)
            if seat.known_id is not None:
                self.seats.pop(seat.known_id, None)
        return rooms

    def clear_rooms(self) -> None:
        """Take all seats out of their rooms, of a hub that is closed."""
        with self._rooms_lock:
            rooms, self._rooms = self._rooms, {}
            for seats in rooms.values():
                for seat in seats:
                    seat.members.clear()

    # -- audiences ---------------------------------------------------------------------------------------------------

    def audience(self, publication: Publication) -> Sequence[Outlet]:
        """Return where a publication is to be sent in this process."""
        room, user = publication.room, publication.user
        if room is None and user is None:
            outlets = self._all()
        else:
            table, key = (self._users, user) if room is None else (self._rooms, room)
            with self._rooms_lock:
                seats = list(table.get(key or "", ()))
            outlets = [seat.outlet for seat in seats]
        if publication.exclude:
            excluded = {seat.outlet for seat in map(self.seats.get, publication.exclude) if seat is not None}
            outlets = [outlet for outlet in outlets if outlet not in excluded]
        if len(publication.text) > self._smallest_message:
            outlets = list(_large_enough(outlets, publication))
        return outlets


def _drop(table: dict[str, dict[Seat, None]], key: str | None, seat: Seat) -> None:
    """Remove a seat below a key, and the key with the last one: names that are used once must not add up."""
    seats = None if key is None else table.get(key)
    if seats is not None and key is not None:
        seats.pop(seat, None)
        if not seats:
            del table[key]


def _large_enough(outlets: Iterable[Outlet], publication: Publication) -> Iterable[Outlet]:
    """Yield those that may send the publication; to the others the reason is reported."""
    size = len(publication.text)
    for outlet in outlets:
        if size <= outlet.message_size:
            yield outlet
        else:
            outlet.report(too_large(size, outlet.message_size), publication.event)


def user_of(identity: Any) -> str | None:
    """Return the name of the user with this identity, ``None`` if it names none.

    Args:
        identity: a text, a number, a mapping or an object with ``user_id`` or ``id``.
    """
    for name in ("user_id", "id"):
        found = identity.get(name) if isinstance(identity, Mapping) else getattr(identity, name, None)
        if found is not None:
            identity = found
            break
    if isinstance(identity, bool) or not isinstance(identity, (str, int)):
        return None
    return str(identity)


def check_room(room: object) -> None:
    """Raise an error unless this can be the name of a room."""
    if not isinstance(room, str):
        raise TypeError(f"the name of a room must be text, not {type(room).__name__}")
    if not room:
        raise ValueError("the name of a room must not be empty")
