"""`Bus`: what carries the events, the requests and the presence of a hub from server to server.

A hub is one *node* in each process that uses it; its servers, and their connections, belong to that node. The bus
connects the nodes: it has one log that all of them get in the same order, messages from one node to another, and the
members of each room. Write a class with these methods to carry a hub over anything else: ``Hub(MyBus())``.

`owlsocket_sync.hub.memory` is the shortest example, for nodes of one process.
"""

from __future__ import annotations

from typing import Protocol

from ..deadline import Deadline
from .values import Gap, Member, PresenceChange, Publication


class BusEvents(Protocol):
    """The node of a bus: what it tells about the other nodes."""

    def append(self, entry: Publication | PresenceChange) -> None:
        """Take the next entry of the log; it waits for nothing, so the bus may hold a lock.

        Every node takes every entry, those of its own hub included, in the order of the log.
        """
        ...

    def deliver(self) -> None:
        """Send the entries that were taken to the clients of this node; without a lock, on any thread.

        It returns once they were sent, or queued for clients that lag, by this thread or by another one.
        """
        ...

    def receive(self, record: bytes) -> None:
        """Take a message of another node; it waits for nothing. A record that is not valid is logged and dropped."""
        ...

    def node_lost(self, node: str) -> None:
        """Note that a node is gone: what it was asked fails at once. It waits for nothing."""
        ...

    def gap(self, gap: Gap) -> None:
        """Have the handlers of `Hub.on_gap` run: entries of the log were missed for good. It waits for nothing."""
        ...


class Bus(Protocol):
    """Carries what one hub tells the other nodes; each method but `open` and `close` may be called from any thread.

    Every method may raise `owlsocket_sync.SocketError`, which reaches the caller of the hub. The exception is `leave`:
    a connection that has ended cannot do anything about an error, so the bus has to see to it that the member is
    removed once that is possible.
    """

    def open(self, node: str, events: BusEvents) -> None:
        """Begin; before anything else, and without waiting for another machine.

        In a forked child it is called again, with another node: from then on nothing may be left of the parent's.

        Args:
            node: the id of this node, a text without a hyphen: the id of a connection is ``NODE-REST``.
            events: the node.
        """
        ...

    def listen(self) -> None:
        """Take the entries of the log, and the messages to this node, from now on; called before any use needs them.

        A hub that only publishes never calls it, so a bus need not read for such a hub. It is called many times, from
        any thread, and returns once the node misses nothing that comes later.
        """
        ...

    def close(self) -> None:
        """End: the node leaves all its rooms, and its servers are gone."""
        ...

    def publish(self, publication: Publication) -> None:
        """Append an entry to the log.

        A bus whose nodes are all in this process also has it delivered before it returns.
        """
        ...

    def send(self, node: str, record: bytes, deadline: Deadline | None) -> bool:
        """Send a message to another node; return false where that node is known to be gone.

        Messages from one node to another arrive in their order, at most once.

        Args:
            node: the other node.
            record: the message.
            deadline: of the call that it is part of: a bus that has to wait for an answer waits no longer.
        """
        ...

    def join(self, room: str, member: Member) -> None:
        """Store a member of this node, and append a `PresenceChange` to the log: ``"update"`` if it was there."""
        ...

    def leave(self, room: str, id: str) -> None:
        """Remove a member, and append a `PresenceChange` if it was there: so each ``"leave"`` is in the log once.

        The members of a node that died are removed in the same way, by one of the nodes that are left.
        """
        ...

    def members(self, room: str, deadline: Deadline | None) -> list[Member]:
        """Return the members of a room, of the nodes that are alive; `deadline` as of `send`."""
        ...

    def count(self, room: str) -> int:
        """Return the number of `members`."""
        ...

    def add_server(self, server: str) -> None:
        """Add a server of this node."""
        ...

    def remove_server(self, server: str) -> None:
        """Remove a server of this node."""
        ...

    def servers(self) -> list[str]:
        """Return the servers of the nodes that are alive."""
        ...


def node_of(id: str) -> str:
    """Return the node that has the connection with this id."""
    return id.partition("-")[0]
