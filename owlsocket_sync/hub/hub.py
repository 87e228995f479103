"""`Hub`: events, calls and presence for all connections of all servers that share it, from any place of the program.

Threads: any. What a process has of a hub is in its `HubNode`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from ..connection import check_close
from ..deadline import Deadline, check_timeout
from ..errors import SocketError
from ..protocol.codec import encode_event
from ..protocol.connection_registry import REGISTRY
from ..protocol.events import not_text
from ..protocol.hooks import Outcome, status_of
from ..protocol.json_parser import MAX_DEPTH
from ..protocol.json_values import to_json
from ..protocol.messages import CALL_TIMEOUT
from ..protocol.private_copy import copy_payload
from ..protocol.subscriptions import Subscription
from .base import Bus, node_of
from .hub_base import ConnectionName, Excluded, HubBase, ids_of
from .node import GAP, PRESENCE
from .requests import check_may_wait, unknown
from .rooms import check_room, user_of
from .values import Gap, Member, PresenceChange, Publication

DISCONNECT_TIMEOUT = 10.0

HubT = TypeVar("HubT", bound="Hub")


class Hub(HubBase):
    """The servers that share it are one: its methods reach the connections of all of them. A context manager.

    Pass it to `owlsocket_sync.server.serve`, or use it without a server, in a view or a job. Closing a server does not
    close its hub. A forked child begins with a node of its own, without the connections of its parent.

    Args:
        bus: carries it between servers; see `owlsocket_sync.hub.Bus`.
    """

    # -- events ------------------------------------------------------------------------------------------------------

    def publish(self, event: str, payload: Any = None, *, room: str | None = None, exclude: Excluded = ()) -> None:
        """Send an event to the members of a room, or to all connections of all servers; it waits for no client.

        Args:
            event: the name of the event.
            payload: any JSON value, as of `owlsocket_sync.Connection.notify`.
            room: its members get the event; ``None`` for all connections.
            exclude: connections that do not get it, or one of them.

        Raises:
            SocketMessageMalformed: the payload cannot be sent as JSON.
            SocketConnectionError: the hub is closed.
        """
        self.publish_text(event, payload, _encode(event, payload), room, exclude)

    def publish_text(self, event: str, payload: Any, text: bytes, room: str | None, exclude: Excluded = ()) -> None:
        """Do what `publish` does, for an event that is encoded; by the servers of the hub."""
        if room is not None:
            check_room(room)
        ids = ids_of(exclude) if exclude else ()
        self.open().publish(Publication(event, text, room, None, ids, payload))

    def send(self, event: str, payload: Any = None, *, to: ConnectionName | None = None, user: Any = None) -> None:
        """Send an event to one connection, or to all connections of a user; it waits for no client.

        Args:
            event: the name of the event.
            payload: any JSON value.
            to: the connection, or its id.
            user: who has authenticated, as `owlsocket_sync.hub.Member.user` has it; nothing happens if the user has no
                connection.

        Raises:
            SocketConnectionError: the hub is known not to have the connection (``CONNECTION_LOST``), or is closed.
            SocketMessageMalformed: the payload cannot be sent as JSON.
            ValueError: neither ``to`` nor ``user`` is given, or both.
        """
        if (to is None) is (user is None):
            raise ValueError("send needs either to= or user=")
        publication = Publication(event, _encode(event, payload), None, None, (), payload)
        bus = self.open()
        if to is None:
            publication.user = user_of(user)
            if publication.user is None:
                raise ValueError(f"user must be the name of a user, not {type(user).__name__}")
            bus.publish(publication)
            return
        id, seat = self._find(to)
        if seat is not None:
            self._node.send(seat, publication)
            return
        record = {"kind": "send", "from": self.node, "to": [id], "record": publication.to_record().decode()}
        if not bus.send(node_of(id), to_json(record), None):
            raise unknown(id)

    # -- calls -------------------------------------------------------------------------------------------------------

    def call(self, to: ConnectionName, method: str, *payload: Any, timeout: float | None = None) -> Any:
        """Call a method of one client, and wait for the result; from any thread, including handlers.

        Args:
            to: the connection, or its id.
            method: the name of the method.
            payload: its arguments.
            timeout: seconds; ``None`` for the ``call_timeout`` of its server, and 60 if that is another process.

        Raises:
            SocketConnectionError: the hub has no such connection, or it was lost before the result arrived
                (``CONNECTION_LOST``).
            ResilientError: everything that `owlsocket_sync.Connection.call` raises.
        """
        bus = self.listen()
        id, seat = self._find(to)
        if seat is not None:
            return seat.call(method, payload, timeout)
        deadline = Deadline(check_timeout(timeout, default=CALL_TIMEOUT))
        outcome = self._ask(bus, "call", [id], _call_fields(method, payload, deadline), deadline)[id]
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def call_all(self, room: str, method: str, *payload: Any, timeout: float | None = None) -> dict[str, Outcome]:
        """Call a method of all members of a room at once, and wait for their results.

        A client that lags, or does not answer, holds up no other one.

        Args:
            room: the name of the room.
            method: the name of the method.
            payload: its arguments.
            timeout: seconds for all of them together; ``None`` for 60.

        Returns:
            By the id of each member an outcome: ``status`` is ``"ok"`` with a ``result``, or ``"error"``,
            ``"timeout"`` or ``"lost"`` with an ``error``.

        Raises:
            SocketMessageMalformed: the arguments cannot be sent as JSON.
            SocketConnectionError: the hub is closed.
        """
        check_room(room)
        deadline = Deadline(check_timeout(timeout, default=CALL_TIMEOUT))
        fields = _call_fields(method, payload, deadline)
        bus = self.listen()
        check_may_wait()
        seats = self.table.seats
        found = {member.id: seats.get(member.id) for member in bus.members(room, deadline)}
        number, request = self._node.requests.begin(
            bus, "call", [id for id in found if found[id] is None], fields, deadline
        )
        outcomes: dict[str, Outcome] = {}
        # A handler that calls from the worker of a member leaves its place to others: that member may call back.
        with ExitStack() as places:
            try:
                futures = {}
                for id, seat in found.items():
                    if seat is not None:
                        places.enter_context(seat.client.managed_block())
                        try:
                            futures[id] = seat.submit(method, payload, fields["timeout"])
                        except SocketError as error:  # that client is gone, or has too many calls pending
                            outcomes[id] = Outcome(status_of(error), 0.0, error)
                outcomes.update((id, future.outcome()) for id, future in futures.items())
                request.wait(deadline)
            finally:
                self._node.requests.end(number)
        return {id: outcomes.get(id) or request.outcomes[id] for id in found}

    def _ask(
        self, bus: Bus, kind: str, ids: Sequence[str], fields: dict[str, Any], deadline: Deadline
    ) -> dict[str, Outcome]:
        """Ask connections of other nodes, and wait for the outcomes."""
        check_may_wait()
        number, request = self._node.requests.begin(bus, kind, ids, fields, deadline)
        try:
            request.wait(deadline)
        finally:
            self._node.requests.end(number)
        return request.outcomes

    def disconnect(self, to: ConnectionName, code: int = 1000, reason: str = "") -> None:
        """Close a connection; it does not wait for the client.

        Args:
            to: the connection, or its id.
            code: the close code for the client, as of `owlsocket_sync.Connection.close`.
            reason: text for the client.

        Raises:
            SocketConnectionError: the hub has no such connection (``CONNECTION_LOST``).
            SocketTimeout: its server, in another process, did not answer within 10 s.
        """
        reason = check_close(code, reason)
        bus = self.listen()
        id, seat = self._find(to)
        if seat is not None:
            self._node.disconnect(seat, code, reason)
            return
        fields = {"code": code, "reason": reason}
        error = self._ask(bus, "disconnect", [id], fields, Deadline(DISCONNECT_TIMEOUT))[id].error
        if error is not None:
            raise error

    # -- presence ----------------------------------------------------------------------------------------------------

    def members(self, room: str) -> list[Member]:
        """Return the members of a room, on all servers."""
        check_room(room)
        # Copies: what the caller does to one is not for the next.
        return [
            member if member.info is None else Member(member.id, member.user, member.server, copy_payload(member.info))
            for member in self.open().members(room, None)
        ]

    def count(self, room: str) -> int:
        """Return the number of members of a room, on all servers."""
        check_room(room)
        return self.open().count(room)

    def servers(self) -> list[str]:
        """Return the servers of the hub, each as ``NAME@NODE``."""
        return self.open().servers()

    def on_presence(self, handler: Callable[[PresenceChange], Any]) -> Subscription:
        """Register ``handler(change)`` for the members of all rooms: who joins, and who leaves, on any server.

        Handlers run on a worker of the hub, one change after another, in the order of the changes. An error of a
        handler is logged.
        """
        return self._on(PRESENCE, handler, "change")

    def on_gap(self, handler: Callable[[Gap], Any]) -> Subscription:
        """Register ``handler(gap)`` for events that this process has missed for good.

        A bus calls it that cannot keep all events while this process, or the connection to it, is away. A `MemoryHub`
        misses nothing, and never calls it.
        """
        return self._on(GAP, handler, "gap")

    def _on(self, kind: str, handler: Callable[..., Any], parameters: str) -> Subscription:
        self.listen()  # from now on: what this node is told begins here
        return self._handlers.add(kind, handler, parameters)


def _encode(event: object, payload: Any) -> bytes:
    if not isinstance(event, str):
        raise not_text(event)
    text = encode_event(event, payload, None, None, MAX_DEPTH)
    return REGISTRY.extended(event, text) if REGISTRY.instruments else text


def _call_fields(method: object, payload: Sequence[Any], deadline: Deadline) -> dict[str, Any]:
    """Return what is to be called, as JSON values, which show an error before anything is sent."""
    if not isinstance(method, str):
        raise TypeError(f"method must be text, not {type(method).__name__}")
    to_json(list(payload))
    fields = {"method": method, "payload": list(payload), "timeout": round(deadline.remaining(), 3)}
    if REGISTRY.instruments:
        fields["extra"] = REGISTRY.extra_of(method)
    return fields
