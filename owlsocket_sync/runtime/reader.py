"""The role of reading a link: held by the poller, or by a thread that waits for a result (leader and followers).

The poller (see `poller`) waits for bytes and handles everything that arrives. A thread that waits for a result may
`ReaderRole.lead` for a while: it mutes the link at the poller, dispatches results, its own and those of other threads,
and unmutes the link. It leaves all other messages in the buffer for the poller. So a call needs no thread switch, and
an event between two calls finds the poller waiting.

Threads: a thread holds the read lock of the stream while it dispatches messages, and never while it waits for bytes, so
correctness does not depend on which threads wait, or how many. Lock order: the read lock first, then what dispatching
takes.

Where a thread can block, and what frees it: at the read lock (its holders run no user code and do not wait), and a
leader in ``stream.poll_readable`` (bytes, `DuplexStream.interrupt`, its deadline, `MAX_LEAD_TIME`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from ..clock import monotonic
from ..deadline import Deadline
from ..locks import wait_on_reader
from ..transport.frames import Close, Pong
from ..transport.framing import KEPT_SIZE, Framing, NeedMoreData
from .registration import LOCK_PATIENCE, POLLING, PolledLink

MAX_LEAD_TIME = 0.05
RESULT_MARK = '"type":"result"'


class ReaderBusy(Exception):
    """The read lock is taken for longer than a moment."""


def _do_nothing() -> None:
    """Take the place of muting, for a link that nothing polls yet."""


class ReaderRole:
    """The role of reading one link.

    Args:
        framing: the messages of the link.
        on_result: called with the text of a message, perhaps as bytes, and perhaps twice. Returns ``None`` if it is no
            result; otherwise dispatches it, and returns whether a thread waits for it.
        on_event: called by the reader with every other message and control frame, except a close frame; by a leader
            with a pong.
        may_continue: checked after each of those; while it returns false, the rest stays in the buffer.

    Attributes:
        has_leftover: bytes were received that the reader has yet to handle.
        registration: the link at the poller, ``None`` before it is there.
        deliver_now: the reader last handled something else than results that no thread waits for yet.
    """

    __slots__ = (
        "_dispatched_any", "_dispatching", "_framing", "_leader", "_may_continue", "_mute", "_muted_by", "_on_event",
        "_on_result", "_read_lock", "_retired", "_stream", "_unmute", "deliver_now", "has_leftover", "registration",
    )  # fmt: skip

    def __init__(
        self,
        framing: Framing,
        on_result: Callable[[str | bytes | memoryview], bool | None],
        on_event: Callable[[Any], None],
        may_continue: Callable[[], bool],
    ) -> None:
        self._framing, self._stream = framing, framing.stream
        self._on_result, self._on_event, self._may_continue = on_result, on_event, may_continue
        self._read_lock = framing.stream.read_lock
        self._leader: tuple[int] | None = None
        self._muted_by: tuple[int] | None = None  # the last leader that muted and has not unmuted yet
        self.registration: PolledLink | None = None
        self._dispatching = self._dispatched_any = self._retired = False
        self._mute: Callable[[], object] = _do_nothing
        self._unmute: Callable[[], object] = _do_nothing
        self.deliver_now = True
        self.has_leftover = bool(framing.recv_buffer)

    @property
    def is_led(self) -> bool:
        """Return whether another thread reads in place of the reader."""
        return self._leader is not None

    def attach(self, registration: PolledLink) -> None:
        """Mute and unmute the link at the poller from now on; before its first step."""
        # A leader that began before has not muted it: the poller finds it led, and masks it.
        self.registration = registration
        self._mute, self._unmute = registration.mute, registration.unmute

    # -- by the poller -----------------------------------------------------------------------------------------------

    def read_available(self) -> tuple[Close | None, Exception | None]:
        """Handle what arrived; return the close frame, if one arrived, and the error that ended the stream, if any.

        Raises:
            ReaderBusy: another thread reads at this moment, or is held up while it does.
            FramingError: the peer violated the protocol.
        """
        error: Exception | None = None
        # For a moment: a signal handler may hold up its holder, and the poller has other links.
        if not self._read_lock.acquire(True, LOCK_PATIENCE):
            raise ReaderBusy
        try:
            # A leader never blocks on a result that was read already: once a leader is set the reader stops reading,
            # and what it read before has been dispatched under this lock.
            if self._leader is not None and not self.has_leftover:
                self.deliver_now = True
                return None, None
            self.has_leftover = self._dispatched_any = self.deliver_now = False
            try:
                self._stream.recv_available(self._framing.recv_buffer.segment.pending, 0.0)
            except (EOFError, OSError) as failure:
                error = failure  # what arrived before is dispatched first
            close = self._dispatch_all()
            self.deliver_now = self.deliver_now or not self._dispatched_any
            return close, error
        finally:
            self._read_lock.release()

    def listen(self) -> None:
        """Let received bytes wake the poller, unless a leader reads: an interrupt may have kept one from doing so."""
        if self._leader is None and self.registration is not None:
            self.registration.unmask()

    def mask(self) -> None:
        """Keep received bytes from waking the poller while a leader reads."""
        if self.registration is not None:
            self.registration.mask()
            # Afterwards: a leader gives up the role and unmutes then, so its last step is either seen here or follows.
            self.listen()

    def _dispatch_all(self) -> Close | None:
        """Dispatch what is complete in the buffer, up to a close frame, which is returned."""
        event, buffer = self._framing.next_event(), self._framing.recv_buffer
        while event is not None:
            if isinstance(event, Close):
                return event
            # Results are dispatched whether or not there is room: threads wait for them.
            if not (self._dispatch(event) or self._may_continue()):
                self.has_leftover = True
                return None
            segment = buffer.segment
            if segment.committed == len(segment.data) and not segment.pending:
                break  # nothing is left to look at, as after most messages
            event = self._framing.next_event()
        if len(buffer.segment.data) > KEPT_SIZE:
            buffer.give_back()
        return None

    def _dispatch(self, event: Any) -> bool:
        """Dispatch a message or control frame, and return whether it was a result, which takes no room."""
        self._dispatched_any = True
        if type(event) is str and RESULT_MARK in event:
            has_waiter = self._on_result(event)
            if has_waiter is not None:
                self.deliver_now = self.deliver_now or has_waiter
                return True
        self.deliver_now = True
        self._on_event(event)
        return False

    def retire(self, close: Callable[[], bool], *, waits: bool = True) -> bool:
        """Close the descriptor with ``close`` once no thread reads, or at once if it ``waits`` not; return whether."""
        if not self._read_lock.acquire(waits):
            return False
        try:
            self._retired = waits or self._retired
            is_closed = close()
            self._retired = self._retired or is_closed
            return is_closed
        finally:
            self._read_lock.release()

    # -- in place of the reader --------------------------------------------------------------------------------------

    def lead(self, done: Callable[[], bool], deadline: Deadline, begin: Callable[[], None] | None = None) -> None:
        """Read in place of the reader, results only, for `MAX_LEAD_TIME` at most; from any thread.

        The caller must check afterwards whether it is done, and otherwise wait by other means. The leader is a fresh
        tuple, compared by identity: a signal handler that calls takes the lead from the thread that it interrupted,
        whose own ``me`` then differs from the leader when it continues.

        Args:
            done: returns whether to stop.
            deadline: when to stop.
            begin: called once the reader is muted, to send what will be answered; its exceptions propagate.
        """
        if threading.get_ident() in POLLING:
            raise wait_on_reader()
        me = (threading.get_ident(),)
        held: list[bool] = []
        try:
            # extend(map()) takes it and notes it in one builtin call: an interrupt does not leave it locked.
            held.extend(map(self._read_lock.acquire, (False,)))
            if not held[0]:
                # For a moment: its holder may need a lock that this thread held when a signal handler interrupted it.
                self._acquire(held, min(deadline.at, monotonic() + MAX_LEAD_TIME))
            # Not while a thread is interrupted within _dispatch_results: its frame is half handled.
            if held[0] and self._leader in (None, me) and not (self._dispatching or self.has_leftover or self._retired):
                self._leader = me
            if held[0]:
                held[0] = False
                self._read_lock.release()
            if self._leader is me:
                # Inline, as below: a call less in which an interrupt could come.
                try:
                    self._mute()
                    if self._leader is not me:
                        self._unmute()  # a signal handler led meanwhile, and has unmuted already
                except (ValueError, OSError):
                    pass  # the link has closed it meanwhile
                # Afterwards: a signal handler that interrupted `_mute` has taken the role, and has unmuted before.
                self._muted_by = me
            if begin is not None:
                begin()
            if self._leader is me:
                self._read_results(me, done, min(deadline.at, monotonic() + MAX_LEAD_TIME))
        except BaseException:
            # An interrupt may have left a frame half handled: the reader parses again from the last commit.
            if self._leader is me:
                self.has_leftover = True
            self._stream.wake()
            raise
        finally:
            if held and held[0]:
                self._read_lock.release()
            if self._leader is me or self._muted_by is me:
                self._leader = None if self._leader is me else self._leader
                try:
                    self._unmute()
                except (ValueError, OSError):
                    pass  # the link has closed it meanwhile
                self._muted_by = None if self._muted_by is me else self._muted_by
        if self._stream.secure and self._stream.has_decrypted():
            self._stream.wake()  # not before the role was given up; no descriptor shows these bytes

    def step_aside(self) -> bool:
        """Return the role if a leader further up on this thread has it: a signal handler or a finalizer may wait.

        Returns:
            False on the reader, which must not wait.
        """
        me, leader, muted_by = threading.get_ident(), self._leader, self._muted_by
        if me in POLLING:
            return False
        if leader is not None and leader[0] == me:
            self._leader = None
            self._unmute_waiter()
            self._stream.wake()  # what the leader was about to dispatch is left over
        elif muted_by is not None and muted_by[0] == me:
            self._unmute_waiter()  # it was interrupted before it did so itself
        return True

    def _unmute_waiter(self) -> None:
        self._muted_by = None
        with contextlib.suppress(ValueError, OSError):  # the link has closed it meanwhile
            self._unmute()

    def _acquire(self, held: list[bool], until: float) -> None:
        """Wait for the read lock until a moment, and note in ``held`` whether it was taken."""
        # With a deadline, since a finalizer may keep the reader for any time while it dispatches.
        held[:] = map(self._read_lock.acquire, (True,), (max(0.0, until - monotonic()),))

    def _read_results(self, me: tuple[int], done: Callable[[], bool], until: float) -> None:
        stream = self._stream
        while not done() and stream.poll_readable(until) and self._dispatch_results(me, until):
            pass
        if self.has_leftover:
            stream.wake()

    def _dispatch_results(self, me: tuple[int], until: float) -> bool:
        """Dispatch the results that arrived; return false once anything else arrived, which is left to the reader."""
        held: list[bool] = []
        try:
            held.extend(map(self._read_lock.acquire, (False,)))  # as in `lead`
            if not held[0]:
                self._acquire(held, until)
            if not held[0] or self._leader is not me or self._dispatching or self.has_leftover or self._retired:
                return False
            try:
                # Until proven otherwise, what arrives is the reader's: an interrupt anywhere below leaves it so.
                self._dispatching = self.has_leftover = True
                self._dispatch_buffered(me)
            except NeedMoreData:
                if self._leader is me:
                    self.has_leftover = False
            except (EOFError, OSError):
                pass  # the reader meets the same error, and ends the link
            except Exception:
                if self._leader is me:
                    raise  # else the bytes that were parsed here moved on meanwhile
            finally:
                self._dispatching = False
            return not self.has_leftover
        finally:
            # Inline, not a method: an interrupt at its beginning would leave the lock taken.
            if held and held[0]:
                self._read_lock.release()

    def _dispatch_buffered(self, me: tuple[int]) -> None:
        """Receive, and dispatch results and pongs, up to anything else.

        A signal handler or a finalizer that waits takes the role, and the reader goes on from the last commit: this
        thread, which finds that out when it continues, then changes neither the buffer nor what is left over.
        """
        recv_buffer, framing = self._framing.recv_buffer, self._framing
        segment = recv_buffer.segment
        self._stream.recv_available(segment.pending)
        if recv_buffer.segment is not segment:
            # Received into a segment that another thread had joined to the next one before.
            recv_buffer.segment.pending.extend(segment.pending[segment.joined :])
        del segment  # the chunks of a large message, which is joined next
        while True:
            event = framing.peek()
            if type(event) is str:
                if self._on_result(event) is None:
                    return
            elif event is None:
                return
            elif isinstance(event, Pong):
                self._on_event(event)
            elif self._on_result(event) is None:
                return
            # After the dispatch: an interrupt in between repeats it, which does no harm; the other way round it would
            # lose a result. No call between the check and the commit, and so no interrupt.
            segment = recv_buffer.segment
            if self._leader is not me:
                return
            segment.committed = segment.position
            if framing.compression is not None and not isinstance(event, Pong):
                framing.count_wire(framing.peeked_size, 0)
            segment = recv_buffer.segment
            if segment.committed == len(segment.data) and not segment.pending:
                if segment.committed > KEPT_SIZE:
                    recv_buffer.give_back()
                break
        if self._leader is me:
            self.has_leftover = False
