"""The part that all servers share: the set of connected clients, broadcasts to them, and the closing of all of them.

Threads: ``_peers_lock``, under ``_peers_changed``, guards the set of peers, the number of client threads and the phase
of the server, and is a leaf. `BaseServer.wait` and `BaseServer.close` wait under deadlines.
"""

from __future__ import annotations

import itertools
import math
import threading
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from .. import fork
from ..connection import Connection
from ..core.core import CoreOptions
from ..deadline import Deadline, check_timeout
from ..errors import SocketConnectionError
from ..errors.safe_text import logger
from ..green_threads import refuse_eventlet
from ..hub.hub_base import Excluded
from ..hub.memory import MemoryHub
from ..hub.seat import HubServer, Seat
from ..locks import Condition, LocksReleased, make_process_lock
from ..protocol.backlog import SharedMemory
from ..protocol.codec import encode_event
from ..protocol.connection_registry import REGISTRY
from ..protocol.events import not_text
from ..protocol.oversize import too_large
from ..runtime.at_exit import EXIT_REGISTRY
from ..runtime.timer import Timer
from ..states import ConnectionState
from ..transport.framing import ServerFraming
from .admission import Authenticator
from .options import Handler, ServerOptions, check_handler
from .origins import check_origin
from .outbox import Outbox
from .peer import CLOSE_TIMEOUT, Peer
from .queues import queues_of
from .request import Request
from .server_phase import PHASES, ServerPhase

STOP_TIMEOUT = 3.0
WAKEUP_MARGIN = 0.05
# Of the timeout of `close`, the part that is kept for aborted links to end in: a share, at least so many seconds, and
# for a crowd so many for each client, up to half of the timeout.
ABORT_RESERVE = 0.2
ABORT_SHARE = 0.2
ABORT_CLIENT = 0.001

# `next` on a count is one step of the interpreter: threads that ask at once get different numbers, without a lock.
numbers = itertools.count(1)

ServerT = TypeVar("ServerT", bound="BaseServer")


class BaseServer:
    """A server's clients, from its construction until `close`; a context manager.

    Attributes:
        hub: the hub of the server.

    Args:
        handler: called with the connection and the request of each client.
        options: everything else.
        name: of the server, in logs.

    Raises:
        ValueError: the handler is not callable.
        SocketInitializationError: eventlet has patched the process.
    """

    def __init__(self, handler: Handler, options: ServerOptions, name: str) -> None:
        check_handler(handler)
        refuse_eventlet()
        self._handler = handler
        self._options = options
        self._authenticator = Authenticator(options.authenticate)
        self._name = name
        self._peers_lock = lock = make_process_lock()
        self._peers_changed = Condition(lock)
        self._peers: dict[Peer, Outbox] = {}  # in the order of arrival
        self._stranded: list[Peer] = []
        self._clients_left = 0
        self._phase = ServerPhase.SERVING
        self._timer = Timer(f"{name}-timer")
        self._memory = SharedMemory(options.total_bytes)
        self._on_client_end = self._client_finished, self._client_stranded  # bound once for all clients
        self.hub = options.hub or MemoryHub()
        self._name_in_hub = ""
        fork.register(self)

    def _join_hub(self) -> None:
        """Become a server of the hub; before the first client."""
        server = HubServer(self._name, self._options.limits.message_size, self._outboxes)
        self._name_in_hub = self.hub.attach(server)

    @property
    def connections(self) -> list[Connection]:
        """The connections of the clients that are connected now, in the order in which they came."""
        return [peer.connection for peer in self._live_peers()]

    def _live_peers(self) -> list[Peer]:
        fork.ensure_process()
        # A peer stays in the set until its thread has ended, which may be long after its link: a handler may still run.
        with self._peers_lock:
            peers = list(self._peers)
        return [peer for peer in peers if peer.state is not ConnectionState.CLOSED]

    def _outboxes(self) -> list[Outbox]:
        # One pass: in a crowd, each look at a client is a look into memory. An outbox knows whether its client is gone.
        fork.ensure_process()
        with self._peers_lock:
            return list(self._peers.values())

    def broadcast(
        self,
        event: str,
        payload: Any = None,
        *,
        room: str | None = None,
        exclude: Excluded = (),
    ) -> None:
        """Send an event to every client of every server of the hub, without waiting for any.

        Without the option ``hub`` these are the clients of this server, and the event is sent on this thread. All
        clients get the broadcasts of a hub in one order.

        A client gets the broadcasts and the events (`Connection.notify`) of each thread in their order. What a client
        does not accept at once is queued, and sent before everything that is sent to it afterwards.
        ``Limits.dispatch_messages`` and ``Limits.dispatch_bytes`` bound this queue. Above them broadcasts to this
        client are dropped, counted in its ``stats.dropped``, and reported to its ``on_error``. A broadcast that a
        client does not begin to accept within 15 s of being the next is dropped, too; so are those that are left at
        its end. Broadcasts ignore an open ``batch()``.

        An error of the `prepare` hook of a client is reported to its ``on_error``; the other clients get the event.

        Args:
            event: the name of the event.
            payload: any JSON value.
            room: its members get the event; ``None`` for all clients.
            exclude: connections that do not get it, or one of them.

        Raises:
            SocketMessageMalformed: the payload cannot be sent as JSON.
            SocketMessageError: the message is larger than ``Limits.message_size``.
            SocketConnectionError: the hub that was given to the server is closed, or cannot be reached.
            TypeError: ``event`` is not text.
        """
        if not isinstance(event, str):
            raise not_text(event)
        limits = self._options.limits
        text = encode_event(event, payload, None, None, limits.json_depth)
        if len(text) > limits.message_size:
            raise too_large(len(text), limits.message_size)
        if REGISTRY.instruments:
            text = REGISTRY.extended(event, text, limits.message_size)
        try:
            self.hub.publish_text(event, payload, text, room, exclude)
        except SocketConnectionError:
            if self._options.hub is not None:
                raise
            # Its own hub closes when the server does, perhaps during this call: no client is there any more.

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server is closed, for ``timeout`` seconds or without a limit; return whether it is."""
        deadline = Deadline(math.inf if timeout is None else check_timeout(timeout))
        fork.ensure_process()
        with self._peers_lock:
            return deadline.wait_for(self._peers_changed, lambda: self._phase is ServerPhase.CLOSED)

    def _enter(self, phase: ServerPhase) -> bool:
        """Change the phase if the table allows it, and return whether it did."""
        with self._peers_lock:
            if phase not in PHASES[self._phase]:
                return False
            self._phase = phase
            self._peers_changed.notify_all()
            return True

    # -- clients -----------------------------------------------------------------------------------------------------

    def _accepting(self) -> bool:
        """Return whether clients may still connect; without the lock, as a hint for waits in slices."""
        return self._phase is ServerPhase.SERVING

    def _authenticate(self, request: Request, *, on_loopback: bool, target: str | None = None) -> Any:
        """Return the identity of a client whose page may connect; before the upgrade.

        Raises:
            HandshakeRejected: the client is rejected.
        """
        check_origin(request.headers, self._options.origins, on_loopback=on_loopback, target=target)
        return self._authenticator.admit(request)

    def _make_peer(self, framing: ServerFraming, request: Request, identity: Any, name: str) -> Peer:
        """Return the peer of an authenticated client, whose link does not read yet."""
        request = replace(request, auth=identity)
        limits, share = self._options.limits, self._memory.join()
        core_options = CoreOptions(
            name,
            limits,
            compresses=framing.compression is not None,
            accepted=True,
            surroundings=self._options.handler_context,
            share=share,
            queues=queues_of(self._options, request),
        )
        peer = Peer(framing, request, self._options, core=core_options, timer=self._timer)
        seat = Seat(self.hub, self._name_in_hub, peer, peer.outbox)
        peer.core.facade.membership, peer.on_left = seat, seat.end
        try:
            self._authenticator.install(peer.connection, identity, peer.expire_at, seat.set_identity)
        except BaseException:  # the identity is the user's object, and may raise when it is asked for its expiry
            peer.abort_handshake()
            share.leave()
            raise
        return peer

    def _add_peer(self, peer: Peer) -> bool:
        """Add a peer before its client learns that it is accepted; false when the server is closing."""
        # Under one lock with the phase: a peer is in the set when `close` takes its snapshot, or its client is
        # rejected. And before the response leaves: no broadcast misses a client that has connected.
        with self._peers_lock:
            if self._phase is not ServerPhase.SERVING:
                return False
            self._peers[peer] = peer.outbox
        return True

    def _client_finished(self, peer: Peer | None) -> None:
        with self._peers_lock:
            self._clients_left -= 1
            if peer is not None:
                self._peers.pop(peer, None)
            self._peers_changed.notify_all()

    # -- closing -----------------------------------------------------------------------------------------------------

    def close(self, timeout: float | None = STOP_TIMEOUT) -> None:
        """Stop accepting clients, and close the links of those that are connected (1001); idempotent, from any thread.

        Args:
            timeout: seconds (default: 3) to wait for the clients' close frames and for handlers that run; links of
                clients that do not answer are aborted before its end, and then the handlers are left alone.
        """
        # All of it on this thread: at the exit of the interpreter no other can be started.
        seconds = check_timeout(timeout, default=STOP_TIMEOUT)
        deadline = Deadline(max(0.0, seconds - WAKEUP_MARGIN))  # the thread has to wake up from the last wait in time
        fork.ensure_process()  # a child has no clients to say goodbye to
        if self._phase is ServerPhase.CLOSED:
            return
        peers = self._live_peers()
        if any(peer.is_reader() for peer in peers):
            # A finalizer on the thread of a client, which must not wait for its own end.
            threading.Thread(target=self.close, args=(timeout,), name=f"{self._name}-close", daemon=True).start()
            return
        with LocksReleased([lock for peer in peers for lock in peer.step_aside()]):
            self._close_within(deadline, seconds)

    def _close_within(self, deadline: Deadline, seconds: float) -> None:
        self._enter(ServerPhase.CLOSING)  # false for a second thread that closes, which waits for the clients too
        self._stop_accepting(deadline)
        self._close_clients(deadline, self._abort_seconds(seconds))
        self._timer.stop()
        self.hub.detach(self._name_in_hub)
        if self._options.hub is None:
            self.hub.close()
        EXIT_REGISTRY.remove(self)
        self._enter(ServerPhase.CLOSED)

    def _abort_seconds(self, timeout: float) -> float:
        """Return the part of the timeout of `close` that aborted links may need to end."""
        crowd = min(ABORT_CLIENT * self._clients_left, timeout / 2)
        return max(ABORT_RESERVE, ABORT_SHARE * min(timeout, CLOSE_TIMEOUT), crowd)

    def _stop_accepting(self, deadline: Deadline) -> None:
        """Stop accepting clients, where the server itself does."""

    def _close_clients(self, deadline: Deadline, grace: float) -> None:
        """Send all close frames at once, wait for the answers, and abort the links that did not end."""
        # Three rounds, not one client after the other: a client that does not answer must not use up the time of the
        # next. The last part of the deadline, `grace`, is kept for aborted links to end in.
        peers = self._live_peers()
        for peer in peers:
            try:
                peer.begin_closing(1001, "")
            except Exception:  # such as that of a log handler: the other clients are closed all the same
                logger.exception("%s: a client was not closed in order", self._name)
        self._wait_clients(Deadline(max(0.0, deadline.remaining() - grace)))
        for peer in peers:
            peer.abort()
        self._wait_clients(deadline)
        for peer in peers:
            peer.wait_end(deadline)

    def _wait_clients(self, deadline: Deadline) -> None:
        while True:
            with self._peers_lock:
                deadline.wait_for(self._peers_changed, lambda: not self._clients_left or self._stranded)
                stranded, self._stranded = self._stranded, []
            if not stranded:
                return
            for peer in stranded:
                peer.finish()

    def _client_stranded(self, peer: Peer) -> None:
        """Note a client for whose end there is no thread: a thread that closes the server does what is left."""
        with self._peers_lock:
            self._stranded = [*self._stranded, peer]
            self._peers_changed.notify_all()

    def close_at_exit(self, seconds: float) -> None:
        """Close within ``seconds``, at the exit of the interpreter."""
        self.close(seconds)

    def after_fork(self) -> None:
        """Forget the clients, which stay the parent's; in a forked child."""
        # A new lock, and no `_enter`: a thread of the parent may have held the old one. The copies of the sockets are
        # closed by the connections: each of them is registered for forks itself.
        self._peers_lock = lock = make_process_lock()
        self._peers_changed = Condition(lock)
        self._phase = ServerPhase.CLOSED
        self._peers.clear()

    def __enter__(self: ServerT) -> ServerT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
