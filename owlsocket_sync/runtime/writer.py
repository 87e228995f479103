"""The way out of one link: whole frames, one after another, whoever sends them and however slowly they are taken.

Threads. ``_write_lock`` serializes writers, each of which waits for it, and for the peer, under its own deadline.
Whoever waits for it puts what it has to send among the parcels, and whoever gets it sends all of those together with
its own; a parcel leaves them in one step, taken by whoever sends it or by its owner, whose time is over. A frame that a
writer began and could not finish is kept in ``_torn`` and sent first by the next one, so an impatient writer never ends
the link. The reader never waits for that lock while the link lives: pongs and pings go to one-place
slots, and whoever holds the lock sends what is in them before it is done; the reader only tries to be that one, and
then writes without waiting. ``_slots_lock`` guards the slots and is a leaf.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketTimeout
from ..transport.stream import RECORD_SIZE
from ..transport.wire import Wire

LAST_WORDS = 0.2
TOGETHER = 65_536


class Parcel:
    """What somebody who waits for the write lock has to send."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


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
        self._write_lock = threading.Lock()
        self._torn = b""
        self._parcels: deque[Parcel] = deque()
        self._slots_lock = threading.Lock()
        self._pong: bytes | None = None
        self._ping: bytes | None = None
        self._close: tuple[int, str] | None = None
        self._close_sent = False

    @property
    def waiting(self) -> bool:
        """Whether something is left to be sent by whoever comes next."""
        return bool(self._torn) or self._slots_filled

    @property
    def _slots_filled(self) -> bool:
        return self._pong is not None or self._ping is not None or self._close is not None

    def write(self, data: bytes, deadline: Deadline, ping: bytes | None = None) -> None:
        """Send frames; from any thread but the reader's.

        Args:
            data: the frames.
            deadline: until when they are to be taken.
            ping: the payload, where they are a ping.

        Raises:
            SocketTimeout: they were not taken within the deadline. What was begun is finished by whoever writes next,
                what was not begun is not sent.
            SocketConnectionError: the link has ended, or said goodbye.
        """
        if not self._write_lock.acquire(blocking=False) and self._sent_together(data, deadline, ping is not None):
            return
        try:
            over = self._over()
            if over is not None or self._close_sent:
                raise over or SocketConnectionError("the link is closing")
            if self._torn:
                self._finish_torn(deadline.at)
            if ping is not None:
                self._asks(ping)
            if self._parcels:
                self._send_with_parcels(data, deadline.at)
            else:
                self._send_all(data, deadline.at)
            if self._slots_filled:
                self._send_slots_at_once()
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
            self._write_lock.release()
        self.flush()

    def _sent_together(self, data: bytes, deadline: Deadline, alone: bool) -> bool:
        """Wait for the lock: false with it, true without it where whoever had it sent this as well."""
        parcel = Parcel(data)
        if not alone:
            self._parcels.append(parcel)
        try:
            mine = self._write_lock.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX))
        except BaseException:
            self._withdraw(parcel)
            raise
        unsent = alone or self._withdraw(parcel)
        if mine and unsent:
            return False
        if unsent:
            raise SocketTimeout(f"the link was busy with other messages for all of {deadline.seconds:g} s")
        if mine:
            self._write_lock.release()
            self.flush()  # who wanted to before found the lock taken
        return True

    def _withdraw(self, parcel: Parcel) -> bool:
        """Whether a parcel was not taken by anybody else."""
        try:
            self._parcels.remove(parcel)
        except ValueError:
            return False
        return True

    def _send_with_parcels(self, data: bytes, until: float) -> None:
        """Send what others wait with, and then this, as far as it is taken in time; theirs counts as begun."""
        parts, size = [], len(data)
        while self._parcels and size < TOGETHER:
            with contextlib.suppress(IndexError):  # withdrawn at this moment
                parcel = self._parcels.popleft()
                parts.append(parcel.data)
                size += len(parcel.data)
        self._send_all(b"".join([*parts, data]), until, last=len(data))

    def pong(self, payload: bytes) -> None:
        """Answer a ping as soon as that needs no waiting; an older one that waits gives way."""
        with self._slots_lock:
            self._pong = payload
        self.flush()

    def ping(self, payload: bytes) -> None:
        """Send a ping as soon as that needs no waiting."""
        with self._slots_lock:
            self._ping = payload
        self.flush()

    def flush(self) -> None:
        """Send what waits, unless somebody else holds the lock and will, or the peer takes nothing."""
        while self.waiting and self._over() is None:
            if not self._write_lock.acquire(blocking=False):
                return
            try:
                self._send_waiting(0.0)
            except TimeoutError:
                return  # it is torn now, and the reader comes back to it
            except OSError as error:
                self._broke(error)
                return
            finally:
                self._write_lock.release()

    def say_goodbye(self, code: int, reason: str = "", deadline: Deadline | None = None) -> bool:
        """Send a close frame, unless one was sent, after what waits; nothing follows it. Whether it left in time."""
        with self._slots_lock:
            if self._close is None and not self._close_sent:
                self._close = (code, reason)
        deadline = deadline or Deadline(LAST_WORDS)
        if not self._write_lock.acquire(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX)):
            return False
        try:
            self._send_waiting(deadline.at)
        except OSError:
            return False  # the peer takes nothing, so it will not answer either
        finally:
            self._write_lock.release()
        return True

    def retire(self, close: Callable[[], None]) -> None:
        """Close the descriptor once nobody writes; by the reader, after the stream was interrupted."""
        with self._write_lock:
            close()

    # -- with the write lock -----------------------------------------------------------------------------------------

    def _send_slots_at_once(self) -> None:
        """Let pongs and pings leave, as far as that needs no waiting: the next writer may be here already."""
        with contextlib.suppress(TimeoutError):  # the reader comes back to it
            self._send_all(self._take_slots(), 0.0, keep=True)

    def _send_waiting(self, until: float) -> None:
        self._finish_torn(until)
        self._send_all(self._take_slots(), until, keep=True)

    def _finish_torn(self, until: float) -> None:
        """Send what an earlier writer began."""
        if self._torn:
            torn, self._torn = self._torn, b""
            self._send_all(torn, until, keep=True)

    def _send_all(self, data: bytes, until: float, *, keep: bool = False, last: int | None = None) -> None:
        """Send; what was begun and not taken is kept in ``_torn``, what was not begun only where asked.

        Args:
            data: what is to be sent.
            until: until when it is to be taken.
            keep: what was not begun, too.
            last: how many bytes of it, at its end, make the part that may not have been begun; all of it, by default.
        """
        view: bytes | memoryview = data if len(data) <= RECORD_SIZE else memoryview(data)  # no copy of much
        try:
            while len(view):
                view = view[self._stream.send_some(view, until) :]
        except BaseException as error:
            lives_on = isinstance(error, TimeoutError) or not isinstance(error, OSError)  # an interrupt, say
            if lives_on:
                last = len(data) if last is None else last
                begun = keep or self._stream.secure or len(view) < last
                self._torn = bytes(view if begun else view[: len(view) - last])
            raise

    def _take_slots(self) -> bytes:
        """The frames of the slots, which are empty then."""
        with self._slots_lock:
            pong, self._pong = self._pong, None
            ping, self._ping = self._ping, None
            close, self._close = self._close, None
        frames = b""
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
