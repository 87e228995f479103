"""Who takes in what comes on a link: the reader, or in its place a thread that waits for an answer.

Threads. Reading is a role. The reader waits at the gate of the stream, and takes in whatever comes. A thread that waits
for an answer may `lead` for a while: it shuts the gate, so that what comes does not wake the reader, takes in answers,
its own and those of others, and opens the gate again. All else it leaves where it is, to the reader. So a call costs
no switch of threads, and an event that comes between two calls finds the reader at its gate.

Whoever takes something in holds ``_reading`` for as long as that takes, and never while it waits for bytes; so what
is right does not depend on who waits, or how many. ``_led`` is set by one leader at a time, under that lock: what the
reader took in before is handed on by then, and afterwards it takes in nothing, so a leader cannot sleep over its own
answer.

The leader may be the main thread, in which a signal can interrupt it anywhere. It is done with what was captured only
after that was handed on, and handing on an answer twice does no harm: whoever reads next begins where it began. A
handler of a signal that interrupts a thread which holds ``_reading``, and calls in its turn, finds ``_taking`` set; it
waits without reading, until its own deadline, for what it interrupted cannot go on.

Where a thread can block, and what frees it: at ``_reading`` (its holders run no user code and do not wait), and a
leader in ``stream.await_readable`` (bytes, `DuplexStream.interrupt`, its deadline, `LEAD`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ..deadline import Deadline
from ..transport.unread import Starved
from ..transport.wire import Close, Wire

LEAD = 0.05
MAYBE_ANSWER = '"type":"result"'


class Reading:
    """The role of reading one link.

    Args:
        wire: what is read from.
        answer: called with a message; when it was an answer, which was handed on, whether somebody waited for that,
            else ``None``. It may be called again with the same.
        take: called by the reader with all else that comes, but for a goodbye.
        may_go_on: asked after each of these; while it is false, the rest is left for later.

    Attributes:
        left: something was captured that the reader has yet to take in.
        urgent: what the reader took in last was not just answers that nobody waits for yet.
    """

    def __init__(
        self,
        wire: Wire,
        answer: Callable[[str], bool | None],
        take: Callable[[Any], None],
        may_go_on: Callable[[], bool],
    ) -> None:
        self._wire = wire
        self._stream = wire.stream
        self._answer = answer
        self._take = take
        self._may_go_on = may_go_on
        self._reading = threading.RLock()
        self._led = False
        self._taking = False
        self._retired = False
        self._taken = False
        self.urgent = True
        self.left = bool(wire.stream.unread)

    # -- by the reader -----------------------------------------------------------------------------------------------

    def read_on(self) -> tuple[Close | None, Exception | None]:
        """Take in what came; the goodbye of the peer, if that came, and what ended the stream, if anything did.

        Raises:
            WireError: the peer broke the protocol.
        """
        end: Exception | None = None
        with self._reading:
            if self._led and not self.left:
                self.urgent = True
                return None, None
            self.left, self._taken, self.urgent = False, False, False
            try:
                self._stream.capture()
            except (EOFError, OSError) as error:
                end = error
            close = self._take_all()
            self.urgent = self.urgent or not self._taken
            return close, end

    def _take_all(self) -> Close | None:
        """Hand on what came."""
        incoming = self._wire.take()
        while incoming is not None:
            if isinstance(incoming, Close):
                return incoming
            self._take_one(incoming)
            if not self._may_go_on():
                self.left = True
                return None
            incoming = self._wire.take()
        return None

    def _take_one(self, incoming: Any) -> None:
        self._taken = True
        if type(incoming) is str and MAYBE_ANSWER in incoming:
            attended = self._answer(incoming)
            if attended is not None:
                self.urgent = self.urgent or attended
                return
        self.urgent = True
        self._take(incoming)

    def retire(self, close: Callable[[], None]) -> None:
        """Close the descriptor once nobody reads."""
        with self._reading:
            self._retired = True
            close()

    # -- in place of the reader --------------------------------------------------------------------------------------

    def lead(self, answered: Callable[[], bool], deadline: Deadline, begin: Callable[[], None] | None = None) -> None:
        """Read until this is so, or until then; for a while at most, and answers only. From any thread.

        Whoever waits has to look afterwards whether it is answered, and wait on if it is not.

        Args:
            answered: whether it is.
            deadline: until when.
            begin: done once the reader will not be woken by what comes of it; what it raises comes through.
        """
        mine = False
        try:
            with self._reading:
                if not (self._led or self._taking or self.left or self._retired):
                    mine = self._led = True
            if mine:
                try:
                    self._stream.gate.shut()
                except (ValueError, OSError):
                    pass  # it was closed meanwhile
            if begin is not None:
                begin()
            if mine:
                self._read_answers(answered, min(deadline.at, time.monotonic() + LEAD))
        except BaseException:
            if mine:
                self.left = True
                self._stream.wake()
            raise
        finally:
            if mine:
                self._led = False
                try:
                    self._stream.gate.open()
                except (ValueError, OSError):
                    pass  # likewise

    def _read_answers(self, answered: Callable[[], bool], until: float) -> None:
        stream = self._stream
        while not answered() and stream.await_readable(until) and self._take_answers():
            pass
        if self.left:
            stream.wake()

    def _take_answers(self) -> bool:
        """Take in the answers that came; false once something else is there, which is left to the reader."""
        with self._reading:
            if self._taking or self.left or self._retired:
                return False
            try:
                self._taking = True
                left = True
                left = not self._took_answers()
            finally:
                self.left = left
                self._taking = False
        return not left

    def _took_answers(self) -> bool:
        """Whether all that came whole were answers."""
        wire, unread = self._wire, self._stream.unread
        try:
            self._stream.capture()
            while unread:
                text = wire.take_text()
                if text is None or self._answer(text) is None:
                    return False
                unread.commit()
        except Starved:
            return True
        except (EOFError, OSError):
            return False
        return True
