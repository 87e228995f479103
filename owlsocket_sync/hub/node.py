"""`HubNode`: a hub in one process. It has the connections of this process, and does for other nodes what they ask.

Threads: what the bus tells is taken without waiting: events go by way of the log, everything else to workers, which are
there for as long as there is something to do. Handlers run on workers, in order for each kind.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketMessageMalformed, SocketUnsupported, marshal_for_peer
from ..errors.safe_text import logger, safe_str
from ..protocol.json_values import from_json, to_json
from ..protocol.log_throttle import LogThrottle, omission
from ..protocol.subscriptions import Registry
from ..runtime.workers import WorkerPool
from ..values import escape_for_log
from .base import Bus
from .deliveries import PresenceDelivery, PublicationDelivery
from .delivery_log import DeliveryLog
from .requests import ANSWER, HubRequests, unknown
from .rooms import RoomTable
from .seat import Seat
from .values import Gap, PresenceChange, Publication

PRESENCE, GAP = "presence", "gap"
WORKERS = 4


class HubNode:
    """The node of a hub; see `owlsocket_sync.hub.base.BusEvents`.

    Args:
        bus: carries the hub.
        handlers: of presence and of gaps.

    Attributes:
        id: unique among the nodes of the hub.
        table: the connections.
        requests: what other nodes were asked.
    """

    def __init__(self, bus: Bus, handlers: Registry[Callable[..., Any]]) -> None:
        self.id = secrets.token_hex(4)
        self.table = RoomTable()
        self.requests = HubRequests(self.id)
        self._bus = bus
        self._handlers = handlers
        self._log = DeliveryLog()
        self.deliver = self._log.deliver
        self._pool = WorkerPool(WORKERS, f"owlsocket-hub-{self.id}")
        self._throttle = LogThrottle()
        self._latest: tuple[PresenceChange, list[None]] | None = None

    # -- what the bus tells: see `BusEvents` -------------------------------------------------------------------------

    def append(self, entry: Publication | PresenceChange) -> None:
        """Take the next entry of the log."""
        if isinstance(entry, Publication):
            self._log.append(PublicationDelivery(entry, self.table.audience))
        elif self._handlers.find(PRESENCE):
            # A bus that was interrupted may append a change once more: its handlers run once all the same.
            if self._latest is None or self._latest[0] is not entry:
                self._latest = entry, [None]
            self._log.append(PresenceDelivery(entry, self._latest[1], partial(self._notify, PRESENCE)))

    def receive(self, record: bytes) -> None:
        """Take a message of another node."""
        try:
            fields = from_json(record)
            kind, sender = fields["kind"], fields["from"]
            if kind == ANSWER:
                self.requests.take_answer(fields)
            else:
                # One lane for each sender: what one node tells a connection arrives in order.
                self._pool.submit(("from", str(sender)), self._perform, fields)
        except (SocketMessageMalformed, KeyError, TypeError) as error:
            self._log_broken(error)

    def node_lost(self, node: str) -> None:
        """Fail what a node was asked."""
        self.requests.fail(node, SocketConnectionError(f"the server that had the connection is gone (node {node})"))

    def gap(self, gap: Gap) -> None:
        """Have the handlers of gaps run."""
        logger.warning("the hub has missed events: %s", escape_for_log(gap.reason))
        self._notify(GAP, gap, [None])

    def _notify(self, kind: str, value: PresenceChange | Gap, untold: list[None]) -> None:
        if self._handlers.find(kind):
            self._pool.submit(kind, self._run_handlers, kind, value, untold)

    def _run_handlers(self, kind: str, value: PresenceChange | Gap, untold: list[None]) -> None:
        try:
            untold.pop()
        except IndexError:
            return  # an interrupt came between the delivery and its end, so it was delivered again
        for subscription in self._handlers.get(kind):
            if subscription.active:
                try:
                    subscription._invoke(None, value)
                except Exception as error:  # of the user's: the next handler runs
                    self._log_failed(kind, value, error)

    def _log_failed(self, kind: str, value: PresenceChange | Gap, error: Exception) -> None:
        omitted = self._throttle.admit((kind, type(error).__name__))
        if omitted is not None:
            room = f" for the room {value.room!r}" if isinstance(value, PresenceChange) else ""
            what = escape_for_log(f"(on_{kind}{room}): {safe_str(error)}{omission(omitted)}")
            logger.error("a handler of the hub failed %s", what, exc_info=error)

    def _log_broken(self, error: BaseException) -> None:
        omitted = self._throttle.admit(type(error).__name__)
        if omitted is not None:
            what = escape_for_log(safe_str(error)) + omission(omitted)
            logger.error("a record of the hub was dropped, it is not valid: %s", what)

    # -- what other nodes ask ----------------------------------------------------------------------------------------

    def _perform(self, fields: Mapping[str, Any]) -> None:
        """Do what another node asks; on a worker."""
        try:
            kind, ids = fields["kind"], [str(id) for id in fields["to"]]
            perform = {"call": self._call, "send": self._send, "disconnect": self._disconnect}.get(kind)
            for id in ids:
                seat = self.table.seats.get(id)
                if perform is None:
                    error = SocketUnsupported(f"the server of {id!r} does not know the request {safe_str(kind)[:60]!r}")
                    self._answer(fields, id, error=error)
                elif seat is None:
                    self._answer(fields, id, error=unknown(id))
                else:
                    perform(seat, fields)
        except Exception as error:  # fields of another version, or a bus that cannot send the answer
            self._log_broken(error)

    def _call(self, seat: Seat, fields: Mapping[str, Any]) -> None:
        try:
            future = seat.submit(fields["method"], fields["payload"], fields["timeout"], _extra(fields))
        except Exception as error:
            self._answer(fields, seat.id, error=error)
        else:
            future.add_done_callback(partial(self._answer_call, fields, seat.id))

    def _answer_call(self, fields: Mapping[str, Any], id: str, future: Future[Any]) -> None:
        error = future.exception()
        try:
            self._answer(fields, id, None if error else future.result(), error)
        except Exception as failure:
            self._log_broken(failure)

    def _send(self, seat: Seat, fields: Mapping[str, Any]) -> None:
        self.send(seat, Publication.from_record(fields["record"].encode()))

    def _disconnect(self, seat: Seat, fields: Mapping[str, Any]) -> None:
        self.disconnect(seat, fields["code"], fields["reason"])
        self._answer(fields, seat.id)

    def _answer(
        self, fields: Mapping[str, Any], id: str, result: Any = None, error: BaseException | None = None
    ) -> None:
        if "request" in fields:
            answer = {"kind": ANSWER, "from": self.id, "request": fields["request"], "id": id, "result": result}
            if error is not None:
                answer["error"] = marshal_for_peer(error)
            self._bus.send(fields["from"], to_json(answer), None)

    # -- one connection of this process ------------------------------------------------------------------------------

    def send(self, seat: Seat, publication: Publication) -> None:
        """Send an event to one connection, without waiting for it."""
        PublicationDelivery(publication, lambda _: (seat.outlet,)).run()

    def disconnect(self, seat: Seat, code: int, reason: str) -> None:
        """Close a connection, without waiting for it."""
        # At once; and a worker aborts the link of a client that does not answer.
        seat.client.begin_closing(code, reason)
        self._pool.submit(None, self._close, seat, code, reason)

    def _close(self, seat: Seat, code: int, reason: str) -> None:
        # Other workers run in its place: handlers of presence must not wait for clients that do not answer.
        with self._pool.managed_block():
            seat.client.connection.close(code, reason)

    # -- the end -----------------------------------------------------------------------------------------------------

    def end(self, error: BaseException) -> None:
        """Fail what is pending, and end the workers once they have done what is left."""
        self.requests.fail(None, error)
        self._pool.end(Deadline(0.0))


def _extra(fields: Mapping[str, Any]) -> dict[str, str] | None:
    """Return the keys that instruments of the other server added to a call."""
    extra = fields.get("extra")
    return {name: value for name, value in extra.items() if isinstance(value, str)} if isinstance(extra, dict) else None
