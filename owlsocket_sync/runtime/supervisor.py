"""One connection over many links: its state, its reconnecting, and who may send when.

Threads. One thread, the reader, dials, reads, and dials again; it is the only one that changes links. ``_standing`` (a
condition) guards the state, the current link and its number; it is held for a few instructions, never while dialling,
reading, writing or telling anybody. The state has one setter, `_move`, and only the reader and `close` use it.

Where a thread can block, and what frees it: the reader in a dial (its deadline, slices that ask `_wanted`), in a link
(see there), in a backoff (``_hurry``, set by `close` and `reconnect`); others in `await_link`, `wait_open` and
`wait_closed` (every move of the state, their deadline).
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..deadline import Deadline
from ..errors import ResilientError, SocketConnectionError, SocketTimeout
from ..options import Backoff
from ..stages import ConnectionState, Ending, StateChange
from .link import Link
from .workers import WorkerPool

logger = logging.getLogger("owlsocket_sync")

EXIT_SECONDS = 2.0
RECONNECT_SECONDS = 1.0
SLICE = 0.05
SPREAD_CODES = frozenset({1001, 1012, 1013})


@dataclass(frozen=True)
class Hooks:
    """What a supervisor tells, and whom; all are called on the reader, none may block.

    Attributes:
        opened: the link is open for everybody.
        lost: a link ended, with its number.
        over: the connection is closed for good; takes a maker of errors.
        moved: the state changed.
        discarded: so many handlers were not started before the end.
        tick: asked for now and then while there is no link, with the time.
        authenticate: says who we are on a new link, on a thread of its own; may raise. ``None``: nothing to say.
        renew: this is a forked child.
    """

    opened: Callable[[], None]
    lost: Callable[[int, Ending], None]
    over: Callable[[Callable[[], SocketConnectionError]], None]
    moved: Callable[[StateChange], None]
    discarded: Callable[[int], None]
    tick: Callable[[float], object]
    authenticate: Callable[[], object] | None
    renew: Callable[[], None]


class Supervisor:
    """Carries the messages of one connection; see `owlsocket_sync.protocol.carrier.Carrier`.

    Args:
        dial: makes a link within a deadline, and asks now and then whether it is still wanted.
        pool: runs the authentication, and ends with the connection.
        backoff: how to reconnect; ``None`` never.
        timeout: seconds for one attempt to connect, authentication included.
        patient: keep trying when the very first attempt fails.
        name: what its thread is called.
    """

    def __init__(
        self,
        dial: Callable[[Deadline, Callable[[], bool], int], Link],
        pool: WorkerPool,
        *,
        backoff: Backoff | None,
        timeout: float,
        patient: bool,
        name: str,
        address: Callable[[], str],
    ) -> None:
        self._dial = dial
        self._pool = pool
        self._backoff = backoff
        self._timeout = timeout
        self._patient = patient
        self._name = name
        self._address = address
        self._hooks: Hooks
        self._dormant = False
        self._renew()

    def _renew(self) -> None:
        self._move_lock = threading.RLock()
        self._standing = threading.Condition(threading.Lock())
        self._hurry = threading.Event()
        self._state = ConnectionState.CONNECTING
        self._link: Link | None = None
        self._link_number = 0
        self._early_thread: int | None = None
        self._ending: Ending | None = None
        self._last_ending: Ending | None = None
        self._asked_to_reconnect = False
        self._closing: tuple[int, str] | None = None
        self._latency: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"{self._name}-reader", daemon=True)

    def start(self, hooks: Hooks) -> None:
        """Begin to connect."""
        self._hooks = hooks
        _supervisors.add(self)
        self._thread.start()

    # -- the reader --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        error: Exception | None = None
        while self._wanted():
            began = time.monotonic()
            ending: Ending | None = None
            try:
                ending = self._live()
                error = ending.error
            except Exception as failure:
                error = failure
            self._last_ending = ending
            healthy = ending is not None and time.monotonic() - began >= self._healthy_after()
            failures = 1 if healthy else failures + 1
            if not self._rest(failures, ending, error):
                break
        self._finish(error)

    def _live(self) -> Ending:
        """One link, from dialling to its end."""
        deadline = Deadline(self._timeout)
        link = self._dial(deadline, self._wanted, self._link_number + 1)
        with self._standing:
            self._link, self._link_number = link, self._link_number + 1
            number = self._link_number
        if not self._wanted():
            link.die(Ending(1006, "closed while connecting"))
        elif self._hooks.authenticate is None:
            self._open(link)
        else:
            name = f"{self._name}-auth"
            threading.Thread(target=self._authenticate, args=(link, deadline), name=name, daemon=True).start()
        ending = link.pump()
        with self._standing:
            self._link = None
            self._latency = link.latency
        if self._state is ConnectionState.OPEN and self._will_reconnect(ending.error):
            self._move(ConnectionState.RECONNECTING, ending)
        if not self._wanted():
            self._hooks.discarded(self._pool.discard())
        self._hooks.lost(number, ending)
        return ending

    def _authenticate(self, link: Link, deadline: Deadline) -> None:
        """Say who we are, on a thread of its own, whose messages alone may leave meanwhile.

        Not on a worker: handlers that keep all of those busy must not keep the link from opening.
        """
        assert self._hooks.authenticate is not None
        with self._standing:
            self._early_thread = threading.get_ident()
        try:
            self._hooks.authenticate()
        except Exception as error:
            link.die(Ending(1000, f"authentication failed: {error}", error))
            return
        finally:
            with self._standing:
                self._early_thread = None
        if deadline.expired():
            link.die(Ending(1000, "authentication took too long", SocketTimeout("authentication took too long")))
        else:
            self._open(link)

    def _open(self, link: Link) -> None:
        with self._standing:
            if self._link is not link or link.ending is not None:
                return
        self._move(ConnectionState.OPEN, None)
        self._pool.submit("opened", self._hooks.opened)

    def _rest(self, failures: int, ending: Ending | None, error: Exception | None) -> bool:
        """Wait before the next attempt; false when there is to be none."""
        if not self._will_reconnect(error):
            return False
        if self._take_request():
            return True
        delay = self._backoff.delay(failures) if self._backoff else None
        if delay is None:
            return False
        if ending is not None and ending.code in SPREAD_CODES and self._backoff:
            delay = max(delay, random.uniform(0.0, self._backoff.initial * self._backoff.factor))
        logger.info("%s: next attempt in %.2f s%s", self._name, delay, f" ({error})" if error else "")
        over = Deadline(delay)
        while not over.expired() and not self._hurry.wait(min(over.remaining(), SLICE)):
            self._hooks.tick(time.monotonic())
        self._take_request()
        return self._wanted()

    def _will_reconnect(self, error: Exception | None) -> bool:
        """Whether another attempt makes sense after this."""
        if not self._wanted():
            return False
        if self._asked_to_reconnect:
            return True
        if self._backoff is None or isinstance(error, (ValueError, TypeError)):
            return False
        if isinstance(error, ResilientError) and not error.retryable:
            return False
        return self._patient or self._state is not ConnectionState.CONNECTING

    def _take_request(self) -> bool:
        """Whether `reconnect` asked for the next attempt to come at once."""
        self._hurry.clear()
        if not self._wanted():
            self._hurry.set()
        asked, self._asked_to_reconnect = self._asked_to_reconnect, False
        return asked

    def _healthy_after(self) -> float:
        return self._backoff.healthy_after if self._backoff else 0.0

    def _finish(self, error: Exception | None) -> None:
        """The connection is over: free everybody, then let the workers go."""
        if self._closing is not None:
            self._ending = Ending(*self._closing)
        else:
            self._ending = self._last_ending or Ending(1006, str(error or "the link ended"), error)
        self._move(ConnectionState.CLOSED, self._ending)
        self._hooks.over(self._closed_error)
        _supervisors.discard(self)
        self._pool.end(Deadline(0.0))

    def _move(self, state: ConnectionState, ending: Ending | None) -> None:
        """Enter a state, and tell, one move after the other; the one setter."""
        with self._move_lock:
            with self._standing:
                if self._state in (state, ConnectionState.CLOSED):
                    return
                if self._closing is not None and state not in (ConnectionState.CLOSING, ConnectionState.CLOSED):
                    return
                previous, self._state = self._state, state
                self._standing.notify_all()
            if ending is None:
                self._hooks.moved(StateChange(state, previous))
            else:
                self._hooks.moved(StateChange(state, previous, ending.code, ending.reason, ending.error))

    def _wanted(self) -> bool:
        return self._closing is None

    # -- what the connection asks of its carrier ---------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it leads, without secrets."""
        return self._address()

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._state

    @property
    def links(self) -> int:
        """How many links there were so far."""
        return self._link_number

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip."""
        link = self._link
        return (link.latency if link else None) or self._latency

    def open_link(self) -> int | None:
        """The number of the link that this thread may send on now, or ``None``."""
        self._awaken()
        if self._state is ConnectionState.OPEN or self._early_thread == threading.get_ident():
            return self._link_number if self._link is not None else None
        return None

    def await_link(self, deadline: Deadline) -> int:
        """Wait for such a link."""
        self._awaken()
        with self._standing:
            while True:
                if self._state is ConnectionState.CLOSED or self._closing is not None:
                    break
                number = self.open_link()
                if number is not None:
                    return number
                if not self._standing.wait(deadline.wait_seconds()) and deadline.expired():
                    raise SocketTimeout(f"no link to {self.url} within {deadline.seconds:g} s ({self._state.value})")
        raise self._closed_error()

    def transmit(self, frames: Sequence[bytes], link: int, deadline: Deadline, *, answer: bool = False) -> bool:
        """Send messages on this link; false when it is not open any more."""
        with self._standing:
            current = self._link
            if current is None or link != self._link_number:
                return False
            if not answer and self.open_link() is None:
                return False
        current.write(frames, deadline)
        return True

    def ping(self, deadline: Deadline) -> float:
        """Seconds of one round trip."""
        link = self._link
        if link is None:
            raise SocketConnectionError(f"no link to {self.url} ({self._state.value})")
        return link.ping(deadline)

    def wake_at(self, at: float) -> None:
        """Have the reader look at the clock at this moment."""
        link = self._link
        if link is not None:
            link.wake_at(at)

    def reconnect(self) -> None:
        """Give up the link that there is and make a new one, at once."""
        with self._standing:
            self._asked_to_reconnect = True
            link = self._link
        self._hurry.set()
        if link is not None and threading.current_thread() is not self._thread:
            link.close(1000, "reconnecting", Deadline(RECONNECT_SECONDS))

    def close(self, code: int, reason: str, deadline: Deadline) -> None:
        """End for good."""
        with self._standing:
            first = self._closing is None and self._state is not ConnectionState.CLOSED
            if first:
                self._closing = (code, reason)
            link = self._link
        if first:
            self._move(ConnectionState.CLOSING, Ending(code, reason))
        self._hurry.set()
        if threading.current_thread() is self._thread:
            return
        if link is not None:
            link.close(code, reason, deadline)
        if self._dormant:
            self._dormant = False
            self._finish(None)
        elif self._thread.is_alive():
            self._thread.join(deadline.wait_seconds())
        self._pool.end(deadline)

    def wait_open(self, deadline: Deadline) -> None:
        """Wait until everybody may send."""
        self.await_link(deadline)

    def wait_closed(self, deadline: Deadline) -> Ending | None:
        """Wait until it is over for good."""
        with self._standing:
            self._standing.wait_for(lambda: self._state is ConnectionState.CLOSED, deadline.wait_seconds())
            return self._ending if self._state is ConnectionState.CLOSED else None

    def closing_error(self) -> SocketConnectionError | None:
        """A fresh error when it is over for good, else ``None``."""
        self._awaken()
        return self._closed_error() if self._closing is not None or self._ending is not None else None

    def _closed_error(self) -> SocketConnectionError:
        ending = self._ending
        if ending is None or self._closing is not None:
            return SocketConnectionError(f"{self._name} is closed")
        error = SocketConnectionError(f"{self._name} is closed: {ending.reason}")
        error.retryable = False
        error.__cause__ = ending.error
        return error

    @property
    def failure(self) -> Exception | None:
        """What ended the connection, when nobody asked for it."""
        return self._ending.error if self._ending else None

    # -- forks and exits ---------------------------------------------------------------------------------------------

    def disown(self) -> None:
        """In a forked child: leave the link to the parent, and forget what its threads held."""
        link, over = self._link, self._state is ConnectionState.CLOSED or self._closing is not None
        if link is not None:
            link.abandon()
        self._renew()
        self._pool.renew()
        self._hooks.renew()
        if over or self._backoff is None:
            self._state = ConnectionState.CLOSED
            self._ending = Ending(1006, "it belongs to the parent process, and does not reconnect")
        else:
            self._patient = self._dormant = True

    def _awaken(self) -> None:
        """The first use in a forked child connects anew."""
        if self._dormant:
            self._dormant = False
            self.start(self._hooks)


_supervisors: weakref.WeakSet[Supervisor] = weakref.WeakSet()


def _disown_all() -> None:
    for supervisor in list(_supervisors):
        supervisor.disown()


def _close_all() -> None:
    """At exit: say goodbye on every open link, all under one short deadline."""
    deadline = Deadline(EXIT_SECONDS)
    for supervisor in list(_supervisors):
        supervisor.close(1001, "the process ends", deadline)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
