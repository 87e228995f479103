"""Who takes in what comes on a link: the reader, or in its place a thread that waits for an answer.

Threads. Reading is a role. The reader waits at the gate of the stream, and takes in whatever comes. A thread that waits
for an answer may `lead` for a while: it shuts the gate, so that what comes does not wake the reader, takes in answers,
its own and those of others, and opens the gate again. All else it leaves where it is, to the reader. So a call costs
no switch of threads, and an event that comes between two calls finds the reader at its gate.

Where one call follows another, the gate stays shut between them, and the reader stands aside: it looks every `LOOK` for
what came between two calls, and opens the gate once nobody has led since it looked last.

Whoever takes something in holds ``_reading`` for as long as that takes, and never while it waits for bytes; so what
is right does not depend on who waits, or how many. ``_leader`` is set by one thread at a time, under that lock: what
the reader took in before is handed on by then, and afterwards it takes in nothing, so a leader cannot sleep over its
own answer.

The leader may be the main thread, in which a signal can interrupt it anywhere. It is done with what was captured only
after that was handed on, and handing on an answer twice does no harm: whoever reads next begins where it began. A
handler of a signal that calls in its turn takes the lead from the thread that it interrupted, which finds that out when
it goes on. Only while that thread takes something in (``_taking``) the handler waits without reading, until its own
deadline, for what it interrupted cannot go on.

Where a thread can block, and what frees it: at ``_reading`` (its holders run no user code and do not wait), and a
leader in ``stream.await_readable`` (bytes, `DuplexStream.interrupt`, its deadline, `LEAD`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from ..deadline import Deadline
from ..transport.unread import Starved
from ..transport.wire import Close, Wire

LEAD = 0.05
LOOK = 0.004
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
        aside: the reader stands aside.
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
        self._leader: tuple[int] | None = None
        self._taking = False
        self._retired = False
        self._taken = False
        self._led_at = -math.inf
        self._led_lately = False
        self.aside = False
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
            if self._leader is not None and not self.left:
                self.urgent = True
                return None, None
            if self.aside:
                self._look_whether_to_stay()
            self.left, self._taken, self.urgent = False, False, False
            try:
                self._stream.capture()
            except (EOFError, OSError) as error:
                end = error
            close = self._take_all()
            self.urgent = self.urgent or not self._taken
            return close, end

    def _look_whether_to_stay(self) -> None:
        """Stand aside no longer if nobody has led since the last look."""
        if self._led_lately:
            self._led_lately = False
            return
        self.aside = False
        self._open_gate()

    def _open_gate(self) -> None:
        try:
            self._stream.gate.open()
        except (ValueError, OSError):
            pass  # it was closed meanwhile

    def _take_all(self) -> Close | None:
        """Hand on what came."""
        incoming = self._wire.take()
        while incoming is not None:
            if isinstance(incoming, Close):
                return incoming
            if not (self._was_answer(incoming) or self._may_go_on()):
                self.left = True
                return None
            incoming = self._wire.take()
        return None

    def _was_answer(self, incoming: Any) -> bool:
        """Hand it on; whether it was an answer, which takes no room."""
        self._taken = True
        if type(incoming) is str and MAYBE_ANSWER in incoming:
            attended = self._answer(incoming)
            if attended is not None:
                self.urgent = self.urgent or attended
                return True
        self.urgent = True
        self._take(incoming)
        return False

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
        me = (threading.get_ident(),)
        try:
            with self._reading:
                if not (self._taking or self.left or self._retired) and self._leader in (None, me):
                    self._leader = me
            if self._leader is me and not self.aside:
                self._shut_gate()
            if begin is not None:
                begin()
            if self._leader is me:
                self._led_at = now = time.monotonic()
                self._read_answers(me, answered, min(deadline.at, now + LEAD))
        except BaseException:
            if self._leader is me:
                self.left = True
                self._stream.wake()
            raise
        finally:
            if self._leader is me:
                self._led_lately = True
                self._leader = None
                if not self.aside:
                    try:
                        self._stream.gate.open()
                    except (ValueError, OSError):
                        pass  # it was closed meanwhile

    def _shut_gate(self) -> None:
        """Let what comes not wake the reader; where calls follow one another, for longer than this one."""
        try:
            self._stream.gate.shut()
        except (ValueError, OSError):
            return  # it was closed meanwhile
        if time.monotonic() - self._led_at < LOOK:
            self.aside = True
            self._stream.wake()

    def _read_answers(self, me: tuple[int], answered: Callable[[], bool], until: float) -> None:
        stream = self._stream
        while not answered() and stream.await_readable(until) and self._take_answers(me):
            pass
        if self.left:
            stream.wake()

    def _take_answers(self, me: tuple[int]) -> bool:
        """Take in the answers that came; false once something else is there, which is left to the reader."""
        unread = self._stream.unread
        with self._reading:
            if self._leader is not me or self._taking or self.left or self._retired:
                return False
            try:
                self._taking = self.left = True
                self._stream.capture()
                while unread:
                    text = self._wire.take_text()
                    if text is None or self._answer(text) is None:
                        return False
                    unread.commit()
                self.left = False
            except Starved:
                self.left = False
            except (EOFError, OSError):
                pass  # the reader learns of it
            finally:
                self._taking = False
            return not self.left
