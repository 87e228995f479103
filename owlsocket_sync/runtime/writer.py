"""The way out of one link: whole frames, one after another, whoever sends them and however slowly they are taken.

Threads. ``_write_lock`` serializes writers, each of which waits for it, and for the peer, under its own deadline.
Whoever waits for it puts what it has to send among the parcels, and whoever gets it sends all of those together with
its own; a parcel leaves them in one step, taken by whoever sends it or by its owner, whose time is over. What was begun
and not finished is kept in ``_torn``, with the parcels that were taken, and sent first by the next writer, so an
impatient one never ends the link. The reader never waits for that lock while the link lives: pongs and pings go to
one-place slots, and whoever holds the lock sends what is in them before it is done; the reader only tries to be that
one, and then writes without waiting. Parcels and slots change in single steps, and need no lock.

A signal may interrupt a writer anywhere. So the lock is released by whoever has it, whether it came to know of that or
not; and a handler that writes in its turn, on the thread that was interrupted within ``_writing``, leaves a parcel.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..transport.stream import RECORD_SIZE
from ..transport.wire import CLOSE, PING, PONG, Wire

LAST_WORDS = 0.2
PARCEL_SIZE = 4096
PARCELS = 64


class Writer:
    """Writes the frames of one link.

    Args:
        wire: what makes the frames, and holds the stream that takes them.
        over: the error to raise once the link has ended, ``None`` before.
        broke: called with what broke while something was written; returns the error to raise.
        asks: called with the payload of each ping as it leaves, with the write lock held.
    """

    def __init__(
        self,
        wire: Wire,
        over: Callable[[], SocketConnectionError | None],
        broke: Callable[[OSError], SocketConnectionError],
        asks: Callable[[bytes], None],
    ) -> None:
        self._wire = wire
        self._stream = wire.stream
        self._over = over
        self._broke = broke
        self._asks = asks
        self._write_lock = threading.RLock()
        self._writing = False
        self._torn: list[bytes] = []
        self._parcels: deque[bytes] = deque()
        self._slots: dict[int, Any] = {}
        self._close_sent = False

    @property
    def waiting(self) -> bool:
        """Whether something is left to be sent by whoever comes next."""
        return bool(self._torn or self._slots or self._parcels)

    def write(
        self, data: bytes, deadline: Deadline, ping: bytes | None = None, rest: Iterator[bytes] | None = None
    ) -> None:
        """Send frames; from any thread but the reader's.

        Args:
            data: the frames.
            deadline: until when they are to be taken.
            ping: the payload, where they are a ping.
            rest: more of them, each piece made while the peer has those before; what begins is sent to its end.

        Raises:
            SocketTimeout: they were not taken within the deadline. What was begun is finished by whoever writes next,
                what was not begun is not sent.
            SocketConnectionError: the link has ended, or said goodbye.
        """
        try:
            if not self._write_lock.acquire(False) and self._sent_together(
                data, deadline, ping is not None or rest is not None
            ):
                return
            if self._writing:
                self._leave_to_interrupted(data, ping, rest)
                return
            try:
                self._writing = True
                over = self._over()
                if over is not None or self._close_sent:
                    raise over or SocketConnectionError("the link is closing")
                if ping is not None:
                    self._asks(ping)
                if self._torn or self._parcels:
                    self._send_after_others(data, deadline.at, rest or ())
                else:
                    self._send_all(data, deadline.at, rest=rest or ())
                if rest is not None:
                    self._send_rest(rest, deadline.at)
                if self._slots:
                    self._send_slots_at_once()
            finally:
                self._writing = False
        except TimeoutError as error:
            self._stream.wake()  # the reader finishes what is torn when the peer takes it
            raise SocketTimeout(f"the peer took nothing more within {deadline.seconds:g} s") from error
        except SocketConnectionError:
            raise
        except OSError as error:
            raise self._broke(error) from error
        except BaseException:
            self._stream.wake()
            raise
        finally:
            try:
                self._write_lock.release()
            except RuntimeError:
                pass  # not ours
        if self._torn or self._slots or self._parcels:
            self.flush()

    def _sent_together(self, data: bytes, deadline: Deadline, alone: bool) -> bool:
        """Wait for the lock: false with it, true where whoever had it sent this as well."""
        alone = alone or len(data) > PARCEL_SIZE
        if not alone:
            self._parcels.append(data)
        try:
            mine = self._write_lock.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX))
        except BaseException:
            self._withdraw(data)
            raise
        unsent = alone or self._withdraw(data)
        if unsent and not mine:
            raise SocketTimeout(f"the link was busy with other messages for all of {deadline.seconds:g} s")
        return not unsent

    def _withdraw(self, data: bytes) -> bool:
        """Whether a parcel was not taken by anybody else; one of two that are equal is as good as the other."""
        try:
            self._parcels.remove(data)
        except ValueError:
            return False
        return True

    def _leave_to_interrupted(self, data: bytes, ping: bytes | None, rest: Iterator[bytes] | None) -> None:
        if ping is None:
            self._parcels.extend((data, *(rest or ())))
        else:
            self._slots[PING] = ping

    def pong(self, payload: bytes) -> None:
        """Answer a ping as soon as that needs no waiting; an older one that waits gives way."""
        self._slots[PONG] = payload
        self.flush()

    def ping(self, payload: bytes) -> None:
        """Send a ping as soon as that needs no waiting."""
        self._slots[PING] = payload
        self.flush()

    def flush(self) -> None:
        """Send what waits, unless somebody else holds the lock and will, or the peer takes nothing."""
        try:
            while self.waiting and self._over() is None and self._send_waiting(0.0):
                pass
        except TimeoutError:
            pass  # it is torn now, and the reader comes back to it
        except OSError as error:
            self._broke(error)

    def say_goodbye(self, code: int, reason: str = "", deadline: Deadline | None = None) -> bool:
        """Send a close frame, unless one was sent, after what waits; nothing follows it. Whether it left in time."""
        if not self._close_sent:
            self._slots.setdefault(CLOSE, (code, reason))
        try:
            return self._send_waiting((deadline or Deadline(LAST_WORDS)).at)
        except OSError:
            return False  # the peer takes nothing, so it will not answer either

    def _send_waiting(self, until: float) -> bool:
        """Send what waits; false where somebody else holds the lock until then."""
        try:
            if not self._write_lock.acquire(timeout=_seconds_until(until)) or self._writing:
                return False
            try:
                self._writing = True
                self._finish_torn(until)
                self._send_all(self._take_slots(), until, keep=True)
            finally:
                self._writing = False
            return True
        finally:
            try:
                self._write_lock.release()
            except RuntimeError:
                pass  # not ours

    def retire(self, close: Callable[[], None]) -> None:
        """Close the descriptor once nobody writes; by the reader, after the stream was interrupted."""
        with self._write_lock:
            close()

    # -- with the write lock -----------------------------------------------------------------------------------------

    def _send_slots_at_once(self) -> None:
        """Let pongs and pings leave, as far as that needs no waiting: the next writer may be here already."""
        with contextlib.suppress(TimeoutError):  # the reader comes back to it
            self._send_all(self._take_slots(), 0.0, keep=True)

    def _finish_torn(self, until: float) -> None:
        """Send what earlier writers began, and what others wait with."""
        self._take_parcels()
        if self._torn:
            self._send_all(b"".join(self._torn), until, keep=True)

    def _send_after_others(self, data: bytes, until: float, rest: Iterable[bytes]) -> None:
        """Send that first, and then this, as far as it is taken in time."""
        self._take_parcels()
        self._send_all(b"".join([*self._torn, data]), until, last=len(data), rest=rest)

    def _send_rest(self, rest: Iterator[bytes], until: float) -> None:
        """Send the pieces that follow on one that was sent."""
        for piece in rest:
            self._send_all(piece, until, keep=True, rest=rest)

    def _take_parcels(self) -> None:
        """Make what others wait with part of what is torn."""
        with contextlib.suppress(IndexError):  # there are no more
            self._torn.extend(islice(iter(self._parcels.popleft, None), PARCELS))

    def _send_all(
        self, data: bytes, until: float, *, keep: bool = False, last: int | None = None, rest: Iterable[bytes] = ()
    ) -> None:
        """Send, all that is torn included; what was begun and not taken is torn then, the rest only where asked.

        Args:
            data: what is to be sent.
            until: until when it is to be taken.
            keep: what was not begun, too.
            last: how many bytes of it, at its end, make the part that may not have been begun; all of it, by default.
            rest: what follows on that part, and is torn with it where it was begun.
        """
        view: bytes | memoryview = data if len(data) <= RECORD_SIZE else memoryview(data)  # no copy of much
        taken: list[int] = []
        try:
            while view:
                self._stream.send_some(view, until, taken)
                view, taken = view[taken[0] :], []
        except BaseException as error:
            if isinstance(error, TimeoutError) or not isinstance(error, OSError):  # the link lives on
                left = view[taken[0] :] if taken else view
                last = len(data) if last is None else last
                begun = keep or self._stream.secure or len(left) < last
                left = left if begun else left[: len(left) - last]
                self._torn[:] = [bytes(left)] if left else []
                if begun:
                    self._torn.extend(rest)
            raise
        if self._torn:
            self._torn.clear()

    def _take_slots(self) -> bytes:
        """The frames of the slots, which are empty then."""
        slots, frames = self._slots, b""
        if not slots:
            return frames
        pong, ping, close = (slots.pop(opcode, None) for opcode in (PONG, PING, CLOSE))
        if self._close_sent:
            return frames
        if pong is not None:
            frames += self._wire.pong_frame(pong)
        if ping is not None:
            self._asks(ping)
            frames += self._wire.ping_frame(ping)
        if close is not None:
            self._close_sent = True
            frames += self._wire.close_frame_of(*close)
        return frames


def _seconds_until(at: float) -> float:
    return min(max(0.0, at - time.monotonic()), threading.TIMEOUT_MAX)
