"""`MemoryHub`: the hub of one process, and `MemoryBus`, which carries it: the shortest example of a bus.

Threads: ``_space_lock`` guards the nodes, the rooms and the servers of one space; held for a few instructions, and
while entries are appended to the logs of the nodes, which gives all of them one order. A leaf.
"""

from __future__ import annotations

from os import getpid

from ..deadline import Deadline
from ..locks import make_process_lock
from .base import BusEvents, node_of
from .hub import Hub
from .values import JOIN, LEAVE, UPDATE, Member, PresenceChange, Publication


class MemorySpace:
    """The nodes that are connected with each other, by the buses that share this space; of one process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin without nodes: in a forked child they are the parent's, and so may be the holder of the lock."""
        self.process = getpid()
        self._space_lock = make_process_lock()
        self._nodes: dict[str, BusEvents] = {}
        self._rooms: dict[str, dict[str, Member]] = {}
        self._servers: dict[str, str] = {}
        self._begun: PresenceChange | None = None
        """The change that is being made, or that an interrupt has left half made."""

    def add(self, node: str, events: BusEvents) -> None:
        """Connect a node."""
        with self._space_lock:
            self._nodes = {**self._nodes, node: events}

    def remove(self, node: str) -> None:
        """Disconnect a node, whose members and servers are gone."""
        with self._space_lock:
            self._complete()
            nodes = self._nodes = {other: events for other, events in self._nodes.items() if other != node}
            rooms = {name: list(members) for name, members in self._rooms.items()}
            self._servers = {server: owner for server, owner in self._servers.items() if owner != node}
            for room, ids in rooms.items():
                for id in ids:
                    if node_of(id) == node:
                        self._remove(room, id)
        for events in nodes.values():
            events.node_lost(node)
            events.deliver()

    def publish(self, publication: Publication) -> None:
        """Append an entry to the logs, and deliver it."""
        with self._space_lock:
            nodes = self._nodes
            for events in nodes.values():
                events.append(publication)
        for events in nodes.values():
            events.deliver()

    def find(self, node: str) -> BusEvents | None:
        """Return a node."""
        return self._nodes.get(node)

    # -- presence ----------------------------------------------------------------------------------------------------

    def join(self, room: str, member: Member) -> None:
        """Store a member."""
        with self._space_lock:
            self._complete()
            was_there = member.id in self._rooms.get(room, ())
            self._begun = PresenceChange(UPDATE if was_there else JOIN, room, member)
            self._complete()
            nodes = self._nodes
        for events in nodes.values():
            events.deliver()

    def leave(self, room: str, id: str) -> None:
        """Remove a member."""
        with self._space_lock:
            self._complete()
            self._remove(room, id)
            nodes = self._nodes
        for events in nodes.values():
            events.deliver()

    def _remove(self, room: str, id: str) -> None:
        member = self._rooms.get(room, {}).get(id)
        if member is not None:
            self._begun = PresenceChange(LEAVE, room, member)
            self._complete()

    def _complete(self) -> None:
        """Make the change that was begun, also where an interrupt came in the middle: each step may be done again."""
        change = self._begun
        if change is None:
            return
        members, id = self._rooms.setdefault(change.room, {}), change.member.id
        if change.kind != LEAVE:
            members[id] = change.member
        else:
            members.pop(id, None)
            if not members:
                del self._rooms[change.room]
        for events in self._nodes.values():
            events.append(change)
        self._begun = None

    def members(self, room: str, deadline: Deadline | None) -> list[Member]:
        """Return the members of a room, in the order in which they joined."""
        with self._space_lock:
            return list(self._rooms.get(room, {}).values())

    def count(self, room: str) -> int:
        """Return the number of members."""
        return len(self._rooms.get(room, ()))

    # -- servers -----------------------------------------------------------------------------------------------------

    def add_server(self, server: str, node: str) -> None:
        """Add a server of a node."""
        with self._space_lock:
            self._servers = {**self._servers, server: node}

    def remove_server(self, server: str) -> None:
        """Remove a server."""
        with self._space_lock:
            self._servers = {other: node for other, node in self._servers.items() if other != server}

    def servers(self) -> list[str]:
        """Return all servers, in the order in which they were added."""
        return list(self._servers)


class MemoryBus:
    """A `Bus` within one process.

    Args:
        space: connects the buses that share it; ``None`` for a space of its own. A forked child begins with an empty
            one.
    """

    def __init__(self, space: MemorySpace | None = None) -> None:
        self._space = space or MemorySpace()
        self._node = ""
        # The space is the same for the life of the bus.
        self.publish, self.join, self.leave = self._space.publish, self._space.join, self._space.leave
        self.members, self.count, self.servers = self._space.members, self._space.count, self._space.servers
        self.remove_server = self._space.remove_server

    def open(self, node: str, events: BusEvents) -> None:
        """Connect a node."""
        if self._space.process != getpid():
            self._space.reset()
        self._node = node
        self._space.add(node, events)

    def listen(self) -> None:
        """Return: a node of a space takes everything from `open` on."""

    def close(self) -> None:
        """Disconnect it."""
        self._space.remove(self._node)

    def send(self, node: str, record: bytes, deadline: Deadline | None) -> bool:
        """Send a message to another node."""
        events = self._space.find(node)
        if events is not None:
            events.receive(record)
        return events is not None

    def add_server(self, server: str) -> None:
        """Add a server of this node."""
        self._space.add_server(server, self._node)


class MemoryHub(Hub):
    """The hub of the servers of one process; `owlsocket_sync.server.serve` makes one where it is given none.

    Give one to several servers of a process, and they are servers of one hub. Nothing leaves the process, and a forked
    child begins with an empty hub.
    """

    def __init__(self) -> None:
        super().__init__(MemoryBus())
