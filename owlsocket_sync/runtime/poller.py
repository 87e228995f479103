"""The one thread of a process that waits for the bytes of all its links, and runs their timers.

A link is a `Polled`, whose steps wait for nothing. Once it has ended, the poller forgets its socket.

Threads: the thread starts with the first link, and ends when there was none for `IDLE_SECONDS`. ``_poller_lock``
guards the start and the end of the thread, and the descriptors, which it closes; held for a few instructions. A wake-up
adds to ``woken`` and looks at ``waiting`` afterwards; the thread sets that, and then looks at ``woken``. So one of
the two sees the other.

Where the thread can block: in its selector (bytes, the waker, the next moment), and at a lock of a link or connection,
whose holders do not wait. But a signal handler or a finalizer may hold up such a holder, or a log handler this thread
itself. So a thread that waits for long (`owlsocket_sync.locks.LOOKOUTS`) looks whether the poller has been in one step
for `PATIENCE`: then another thread takes its turn, and leaves to it the link that holds it up.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from .. import fork
from ..clock import monotonic
from ..errors.safe_text import logger
from ..locks import LOOKOUTS, MAX_WAIT
from ..transport.selector import READABLE, WOKEN, AnySelector
from ..transport.waiting import HasFileno
from .poller_turn import PollerTurn, do_nothing
from .registration import AT_ONCE, NO_TASKS, POLLING, InlineTasks, Polled, PolledLink

IDLE_SECONDS = 1.0
RETRY_DELAY = 0.02
MAX_EVENTS = 64
PATIENCE = 0.05
PURGE_THRESHOLD = 64
INLINE_SECONDS = 0.002
"""For how long handlers of one connection run here at once, before other links have their turn."""


class Poller(PollerTurn):
    """Waits for all links of one process; see `owlsocket_sync.runtime.registration.Owner`."""

    def __init__(self) -> None:
        super().__init__()
        self._by_fileno: dict[int, PolledLink] = {}
        self.woken: set[PolledLink] = set()
        self._moments: list[tuple[float, int, PolledLink]] = []
        self._numbers = itertools.count()
        self._ended: list[PolledLink] = []
        self._stranded: list[PolledLink] = []
        self._retry_at = -math.inf
        self._work: deque[tuple[PolledLink, int]] = deque()
        self.waiting = False
        fork.register(self)

    def attach(
        self, link: Polled, sock: HasFileno, on_end: Callable[[], bool], tasks: InlineTasks = NO_TASKS
    ) -> PolledLink:
        """Call a link from now on; from any thread.

        Args:
            link: the link; called after it was woken for the first time.
            sock: its socket.
            on_end: called once the link has ended, until it returns true.
            tasks: what the steps of the link submit.

        Raises:
            Exception: there is no thread, or no descriptor, for the poller.
        """
        with self.lock:
            if self._selector is None:
                self._make_selector()
            selector = self._selector
            assert selector is not None
            registration = PolledLink(self, selector, sock, link, on_end, tasks)
            self._by_fileno[registration.fileno] = registration
            try:
                registration.mute, registration.unmute = selector.add(registration.fileno)
                self.links.add(registration)
                self._start_thread()
            except BaseException:
                self.links.discard(registration)
                self._by_fileno.pop(registration.fileno, None)
                selector.remove(registration.fileno)
                self._close_unused()
                raise
        return registration

    def rename(self, before: int | None, after: int | None, registration: PolledLink) -> None:
        """Note another descriptor of a link; by the poller."""
        if before is not None and before != registration.fileno:
            self._by_fileno.pop(before, None)
        if after is not None:
            self._by_fileno[after] = registration

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self, selector: AnySelector, turn: object) -> None:
        me = threading.get_ident()
        POLLING.add(me)
        try:
            while not self._has_finished(selector, turn):
                try:
                    self._poll(selector, turn)
                except BaseException:
                    # An error of one link ends that link in its `step`; whatever comes here must end no other one.
                    logger.outlive("the poller failed, and goes on")
                    for registration in [*self.links]:
                        self._leave_to_workers(registration.tasks)  # those of one are hosted
        finally:
            POLLING.discard(me)
        fork.end_inherited_thread()  # only a greenlet that survived a fork needs that

    def _has_finished(self, selector: AnySelector, turn: object) -> bool:
        """Return whether this thread is to end; release the descriptors if no other one needs them."""
        with self.lock:
            # After a fork, a greenlet that survives it finds that it is not its turn.
            if self._turn is not turn:
                return True
            if self.links or self._ended or self._stranded or self._owed:
                return False
            self._selector, self._turn, self.ring = None, None, do_nothing
            self._by_fileno.clear()
            self._moments.clear()
            self._work.clear()
            self.woken.clear()
            selector.close()
            return True

    def _poll(self, selector: AnySelector, turn: object) -> None:
        """Call links, until there was none for a while, or another thread has the turn."""
        work, held, owed = self._work, self._held, self._owed
        while self._turn is turn:
            if owed:
                self._try_again()
            if not work and not self._await_work(selector, turn):
                return
            registration, ready = work.popleft()
            if held and registration in held:
                # What it was called for is looked at once its thread gives it back.
                if ready & READABLE:
                    registration.mask()
                continue
            self._step_began = monotonic()
            step = self._step = [registration]
            tasks = registration.tasks
            tasks.is_hosted = True
            due = registration.step(ready)
            if due is None and step:
                self._end(registration)
            # Who takes the item decides, in one step: this thread, which goes on, or one that has taken its turn.
            try:
                step.pop()
            except IndexError:
                if self._was_relieved(turn, registration):
                    return
            if due is not None and due < registration.due_at:
                if due == AT_ONCE:
                    self.woken.add(registration)
                else:
                    self._call_at(due, registration)
            if tasks.ready:
                if not self._run_inline(tasks, registration, turn):
                    return
            else:
                tasks.is_hosted = False
                if tasks.ready:  # another thread has just appended a task, and left it to this one
                    self._leave_to_workers(tasks)

    def _call_at(self, at: float, registration: PolledLink) -> None:
        """Call a link at a moment that is earlier than its present one."""
        registration.due_at = at
        moments = self._moments
        heapq.heappush(moments, (at, next(self._numbers), registration))
        if len(moments) > 2 * len(self.links) + PURGE_THRESHOLD:
            # Those of links that have ended would stay until they come.
            moments[:] = [entry for entry in moments if entry[0] == entry[2].due_at]
            heapq.heapify(moments)

    def _run_inline(self, tasks: InlineTasks, registration: PolledLink, turn: object) -> bool:
        """Run handlers of what was read; return whether this thread still polls."""
        self._inline = tasks
        self._visits += 1
        step = self._step = [None]
        if not self._monitor.ensure_awake():  # afterwards: it looks at these
            step.clear()
            self._leave_to_workers(tasks)
            return True
        me = threading.get_ident()
        try:
            is_left = tasks.run_inline(monotonic() + INLINE_SECONDS, partial(self._hand_on, step))
        finally:
            # First: from the end of the run on no other thread relieves this one, which must not wait any more.
            POLLING.add(me)
            try:
                step.pop()
            except IndexError:  # another thread has the turn, or could not be started
                with self.lock:
                    self._step = [] if self._turn is turn else self._step
        polls = self._turn is turn
        if not polls:
            POLLING.discard(me)
        if is_left:
            if polls and registration in self.links:
                self.woken.add(registration)
            else:
                self._leave_to_workers(tasks)
        return polls

    def _await_work(self, selector: AnySelector, turn: object) -> bool:
        """Wait for links to call; return false if there was none for a while, or another thread has the turn."""
        work, woken, moments, by_fileno = self._work, self.woken, self._moments, self._by_fileno
        idle_until = math.inf
        while not work:
            at = moments[0][0] if moments else math.inf
            if self._owed:
                self._try_again()
                at = min(at, monotonic() + RETRY_DELAY)
            if self._ended:
                at = -math.inf
            elif self._stranded:
                at = min(at, self._retry_at)
            elif not self.links:
                idle_until = min(idle_until, monotonic() + IDLE_SECONDS)
                at = min(at, idle_until)
            seconds = at - monotonic()
            self.waiting = True
            ready = selector.poll(0.0 if woken or seconds < 0.0 else min(seconds, MAX_WAIT), MAX_EVENTS)
            self.waiting = False
            if self._turn is not turn:
                return False  # this is a greenlet that survived a fork
            for fileno, events in ready:
                registration = by_fileno.get(fileno)
                if registration is not None:
                    work.append((registration, events))
                elif fileno == selector.waker.fileno():
                    selector.waker.clear()
                    woken.update([by_fileno[each] for each in [*selector.masked] if each in by_fileno])
            for _ in range(len(woken)):
                work.append((woken.pop(), WOKEN))
            now = monotonic()
            while moments and moments[0][0] <= now:
                at, _, registration = heapq.heappop(moments)
                # A link has an entry for each moment that was earlier than those before: only the earliest one counts.
                if at == registration.due_at:
                    registration.due_at = math.inf
                    work.append((registration, 0))
            if self._stranded and now >= self._retry_at:
                self._ended.extend(self._stranded)
                self._stranded.clear()
            # One at a time, and last of all: a thread starts for it, and has much to do.
            if not work and self._ended:
                work.append((self._ended[0], 0))
            if not work and now >= idle_until:
                return False
        return True

    def _end(self, registration: PolledLink) -> None:
        """Forget a link that has ended; hand over what follows once the calls of all that end with it have failed."""
        if registration in self.links:
            if self._by_fileno.get(registration.fileno) is registration:
                del self._by_fileno[registration.fileno]
            registration.leave()
            self._ended.append(registration)
            self.links.discard(registration)
            self.woken.discard(registration)
        elif registration in self._ended:
            # First: a thread that relieves this one meanwhile leaves it alone.
            self._ended.remove(registration)
            try:
                is_over = registration.on_end()
            except BaseException:
                logger.outlive("the end of a link failed")
                is_over = True
            if is_over:
                registration.forget()
            else:
                self._stranded.append(registration)
                self._retry_at = monotonic() + RETRY_DELAY

    # -- forks -------------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Leave the links to the parent; in a forked child."""
        # The child changes nothing in the selector, which it shares with its parent.
        links, selector = self.links, self._selector
        self._reset()
        POLLING.clear()
        for registration in links:
            registration.close_in_child()
        if selector is not None:
            selector.close_in_child()


_pollers: fork.PerProcess[Poller] = fork.PerProcess(Poller)


def _relieve() -> None:
    poller = _pollers.peek()
    if poller is not None:
        poller.relieve()


LOOKOUTS.append(_relieve)


def get_poller() -> Poller:
    """Return the poller of this process."""
    return _pollers.get()
