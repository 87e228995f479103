"""The core of a connection: its parts, wired together, and what its carrier tells them.

Threads and carriers hold the core; the user holds a `owlsocket_sync.Connection`, a facade over it. The core starts no
thread, and holds no lock while it sends, waits, completes a future or runs a handler.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .. import fork
from ..deadline import Deadline
from ..delegation import delegate
from ..errors import SocketConnectionError, SocketMessageError
from ..locks import LockGroup, StepAside
from ..options import Limits
from ..protocol.authentication import Authentication
from ..protocol.backlog import Backlog, Share
from ..protocol.calls import Calls, CallTable, lost_error
from ..protocol.carrier import Carrier, Workers
from ..protocol.connection_registry import REGISTRY
from ..protocol.counters import Counters
from ..protocol.error_reporter import ErrorReporter
from ..protocol.events import Events
from ..protocol.hooks import Hooks, Instrument
from ..protocol.listeners import Listeners
from ..protocol.oversize import TOO_BIG
from ..protocol.performers import Performers
from ..protocol.queue import MessageQueue
from ..protocol.reports import ErrorContext
from ..protocol.requests import Requests
from ..protocol.scopes import Scopes
from ..protocol.services import Services
from ..protocol.settings import Settings
from ..protocol.subscriptions import ALL, HandlerContext, Registrations
from ..states import ENDING_STATES, CloseInfo, ConnectionState, StateChange
from .contract import CarrierContract
from .dispatcher import Dispatcher
from .drain import drain
from .facade import FacadeReference
from .families import Families
from .sender import Sender
from .tasks import Tasks
from .waits import Waits

if TYPE_CHECKING:
    from ..protocol.stats import Stats
    from .durable_queue import DurableQueue, StoredQueues

CLOSE_TIMEOUT = 3.0
RECONNECT_TIMEOUT = 1.0
INTERNAL_ERROR = 1011
PROTOCOL_ERROR_CODES = frozenset({1002, 1007, TOO_BIG})


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """Values that tell one core from another.

    Attributes:
        name: the name of the connection in logs and errors.
        limits: how much may pile up.
        sender: the name in each message, or ``None``.
        stamps: whether each message holds the time at which it was sent.
        compresses: whether the carrier may compress messages, and counts their bytes.
        accepted: whether this is the end of a server, to which the peer connected.
        surroundings: returns the context manager inside which each handler runs; ``None`` for none.
        share: of the memory of that server.
        queues: in stores; ``None`` where inbox and outbox are in memory.
    """

    name: str
    limits: Limits
    sender: str | None = None
    stamps: bool = False
    compresses: bool = False
    accepted: bool = False
    surroundings: HandlerContext | None = None
    share: Share | None = None
    queues: StoredQueues | None = None


class Core:
    """The parts of one connection, in one process.

    Args:
        carrier: carries its messages.
        workers: run its handlers.
        options: what tells it from others.
        settings: what its user may change.
        parent: the core of the parent process, whose handlers and settings a forked child goes on with.

    Attributes:
        forked: whether this process is a child of the one that the core belongs to.
        facade: the object that the user holds.
    """

    __slots__ = (
        "__weakref__", "_contract", "_locks", "_workers", "active_queue", "authentication", "backlog", "calls",
        "carrier", "counters", "dispatcher", "durable", "events", "facade", "forked", "hooks", "listeners", "options",
        "performers", "queue", "registrations", "reporter", "requests", "scopes", "sender", "services", "settings",
        "step_aside", "tasks", "waits",
    )  # fmt: skip

    def __init__(
        self,
        carrier: Carrier,
        workers: Workers,
        options: CoreOptions,
        settings: Settings,
        parent: Core | None = None,
    ) -> None:
        limits, run, inside = options.limits, workers.submit, options.surroundings
        self.carrier, self.options, self.settings, self.forked = carrier, options, settings, False
        registrations: Registrations = Registrations() if parent is None else parent.registrations
        self.registrations: Registrations = registrations
        self.scopes: Scopes = Scopes() if parent is None else parent.scopes
        self._workers = workers
        self._locks = locks = LockGroup()
        locks.locks.append(registrations.table_lock)
        self.step_aside = StepAside(carrier, locks)
        self._contract, self.facade = CarrierContract(carrier, workers), FacadeReference(self)
        counters_lock = locks.make()
        self.counters = counters = Counters(counters_lock, counts_wire=options.compresses)
        self.backlog = backlog = Backlog(limits.dispatch_messages, limits.dispatch_bytes, counters_lock, options.share)
        ending, handlers = carrier.closing_error, registrations.error_handlers
        self.reporter = ErrorReporter(options.name, handlers, run, backlog, counters, ending, inside)
        report = self.reporter.report
        self.tasks = Tasks(run, backlog, counters, report, inside)
        own_instruments: tuple[Instrument, ...] = () if parent is None else parent.hooks.own
        self.hooks: Hooks = Hooks(options.name, own_instruments, report, self.facade, limits.message_size)
        table = CallTable(limits.pending_calls, carrier, locks)
        self.sender = self._make_sender(table)
        self.waits = Waits(carrier, self.sender, workers, self.step_aside, options.name)
        parts = self.sender, self.tasks, self.waits, locks
        self.services = Services(*parts, run, report, inside, counters, self.hooks, backlog, limits.json_depth)
        families = self._make_families(table)
        self.calls, self.performers, self.requests = families.calls, families.performers, families.requests
        self.events, self.queue, self.durable = families.events, families.queue, families.durable
        self.active_queue: MessageQueue | DurableQueue = self.queue if self.durable is None else self.durable
        self.authentication, self.listeners = families.authentication, families.listeners
        self.dispatcher = Dispatcher(
            families, self.services, settings, registrations.listeners, self.tasks, self.waits, carrier
        )
        if parent is not None:
            self.events.adopt_queues()
        REGISTRY.add(self.hooks)
        fork.register(self)

    # What a link asks for with every message, which it binds once.
    receive: Callable[..., None] = delegate("dispatcher.receive")
    has_room: Callable[[], bool] = delegate("dispatcher.has_room")
    count_wire: Callable[[int, int], None] = delegate("counters.count_wire")
    try_complete: Callable[[str | bytes | memoryview], bool | None] = delegate("calls.try_complete")
    fail_calls: Callable[[int, CloseInfo], None] = delegate("calls.table.fail_lost")

    def _make_sender(self, table: CallTable) -> Sender:
        options = self.options
        return Sender(
            self.carrier,
            self.settings,
            table,
            self.counters,
            self.hooks,
            self.scopes,
            self._workers,
            self.step_aside,
            limits=options.limits,
            sender=options.sender,
            stamps=options.stamps,
        )

    def _make_families(self, table: CallTable) -> Families:
        services, settings, registrations, sender = self.services, self.settings, self.registrations, self.sender
        authentication = Authentication(services, settings, accepted=self.options.accepted)
        queue = MessageQueue(services, self.options.limits.inbox_messages, self.options.limits.inbox_bytes)
        durable = None if self.options.queues is None else self._make_durable(self.options.queues, queue)
        return Families(
            calls=Calls(services, settings, registrations.listeners, sender, table, self.tasks, self.waits),
            performers=Performers(services, settings, registrations.performers, authentication),
            events=Events(services, sender.send_event, registrations.observers, registrations.event_queues),
            requests=Requests(services, registrations.acknowledgers, registrations.response_observers),
            queue=queue,
            durable=durable,
            authentication=authentication,
            listeners=Listeners(
                self.options.name, services, self.carrier, registrations.listeners, registrations.state_handlers
            ),
        )

    def _make_durable(self, queues: StoredQueues, memory: MessageQueue) -> DurableQueue:
        from .queue_assembly import make_durable  # where nothing is stored, it is not loaded

        carrier, sender = self.carrier, self.sender
        return make_durable(self.services, queues, memory, carrier, sender, self.settings, self.options)

    # -- what the carrier tells: see `CarrierEvents` -----------------------------------------------------------------

    @property
    def run_timers(self) -> Callable[[float], float]:
        """The method that lets calls, and what waits to be sent from a store, time out."""
        expire = self.calls.table.expire
        return expire if self.durable is None else self.durable.with_timers(expire)

    def awaits_link(self) -> bool:
        """Return whether a call waits for a link; not what a thread sends on a link that is just opening."""
        return bool(self.calls.table.unsent())

    def link_opened(self) -> None:
        """Send the calls that waited for a link: they leave first."""
        self._contract.link_opened()
        self.sender.send_held()

    def link_lost(self, link: int, info: CloseInfo) -> None:
        """Fail all that waits for an answer on a link that ended, and show the end to those who listen."""
        self._contract.link_lost(link)
        if self.durable is not None:
            self.durable.exchange.link_lost(link)
        self.fail_calls(link, info)  # for carriers that have not done so
        error = partial(lost_error, self.carrier, info)
        self.authentication.fail(error, link)
        # Without a lock: a request that is registered from here on finds that the carrier does not offer the link.
        if self.requests.pending:
            self.requests.fail(error)
        self._report_ending(info)
        self.listeners.notify_link_closed(info)

    def _report_ending(self, info: CloseInfo) -> None:
        """Report an error of our own; count and report frames that break the protocol, or a limit."""
        # With an error it is of our own: the peer's close frame has none. The link has logged it.
        if info.error is not None and info.code == INTERNAL_ERROR and self.registrations.error_handlers.get(ALL):
            self.reporter.report(info.error, ErrorContext("receive"))
        if info.error is not None and info.code in PROTOCOL_ERROR_CODES:
            limit = " (Limits.message_size)" if info.code == TOO_BIG else ""
            broken = SocketMessageError(f"the link was closed with {info.code}: {info.reason}{limit}")
            broken.__cause__ = info.error
            self.counters.count("malformed")
            self.reporter.report(broken, ErrorContext("receive"))

    def handlers_discarded(self, count: int) -> None:
        """Count handlers that were not started before the end."""
        self._contract.handlers_discarded(count)
        self.counters.count("dropped", count)

    def state_changed(self, change: StateChange, number: int) -> None:
        """Log a change of the state, and have its handlers run; from CLOSING on, the peer can start nothing here."""
        if change.state in ENDING_STATES:
            self.dispatcher.stop()
        try:
            self._contract.begin_state_change(change)
            if self.durable is not None and change.state is ConnectionState.OPEN:
                self.durable.exchange.link_opened(self.carrier.links)
            self.listeners.notify_state(change, number)
        except Exception:
            raise
        except BaseException:
            self._contract.interrupt_state_change()
            raise
        finally:
            # Not by a call, in which an interrupt could leave the change in place. Another one was refused.
            if self._contract.change is change:
                self._contract.change = None

    def closed(self, error: Callable[[], SocketConnectionError]) -> None:
        """Free all threads that wait for something: the connection is closed for good."""
        self._contract.closed()
        self.calls.table.fail(error)
        self.authentication.fail(error)
        self.requests.fail(error)
        self.events.end()
        self.active_queue.end()
        self.backlog.leave()
        self.reporter.end(self._workers.submit)
        REGISTRY.remove(self.hooks, self._counted())

    # -- the life of a connection ------------------------------------------------------------------------------------

    def _counted(self) -> dict[str, int]:
        return {**self.counters.totals(), "reconnects": max(0, self.carrier.links - 1)}

    def stats(self) -> Stats:
        """Return what the connection has seen so far, as of now."""
        from ..protocol.stats import Stats  # where nothing asks, it is not loaded

        return Stats(
            **self._counted(),
            pending=len(self.calls.table.pending),
            queued=len(self.active_queue),
            backlog=self.backlog.totals()[0],
            latency=self.carrier.latency,
        )

    def drain(self, timeout: float) -> None:
        """Let calls and handlers finish, then close; see `owlsocket_sync.Connection.drain`."""
        drain(self, timeout)

    def wait_idle(self, deadline: Deadline) -> bool:
        """Wait until no handler runs or waits to run; return whether that was within the deadline."""
        with self.step_aside():
            return self._workers.wait_idle(deadline)

    def reconnect(self) -> None:
        """Replace the link; see `owlsocket_sync.Connection.reconnect`."""
        self.services.check_open()
        self.carrier.current_link_id()  # where connecting was postponed to the first use, this is it
        deadline = self.sender.deadline_for(RECONNECT_TIMEOUT)
        with nullcontext() if self.carrier.is_reader() else self.step_aside():
            self.carrier.reconnect(deadline)

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """Close the connection; see `owlsocket_sync.Connection.close`."""
        if self.carrier.is_reader():
            # A finalizer on the reader: it must not wait for itself.
            self._workers.submit("closing", self.close, code, reason, deadline)
            return
        with self.step_aside(), self._workers.managed_block():
            self.carrier.close(code, reason, deadline)

    def close_soon(self) -> None:
        """Close the connection on a worker."""
        self._workers.submit("forgotten", self.close, 1000, "", Deadline(CLOSE_TIMEOUT))

    def has_handlers(self) -> bool:
        """Return whether anything that the peer sends has a handler; takes no lock."""
        return bool(self.settings.authenticate or self.settings.prepare or self.registrations or self.requests.pending)

    # -- forks -------------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Leave the link to the parent, and fail what waits here for answers to it; in a forked child."""
        self.forked = True
        self.carrier.close_in_child()
        self.scopes.take_batch()  # the parent sends what it gathered
        self.calls.table.orphan()
        self.requests.orphan()
        self.registrations.replace_lock()
