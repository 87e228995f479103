"""A connected, non-blocking socket that one thread reads while others write, with a deadline for each direction.

Threads: `recv_available` requires ``read_lock``. Until the link is up, one thread reads (`DuplexStream.fill`), and
waits for bytes; from then on the poller (`runtime.poller`) waits for the bytes of all links. `send_some` requires the
write lock (`runtime.writer`). `wake` and `interrupt` reach the poller from any thread; who releases the link closes the
descriptor. No thread waits while it holds a lock of this module: it waits for readiness, and repeats the system call.

Locks: ``read_lock`` guards the received bytes, wherever they are kept. ``state_lock`` guards whether the descriptor is
open, and is used by the link on top for its own state, so that one link has one lock for both. Order: ``read_lock``,
then the lock of the TLS object (`tls`); ``state_lock`` is a leaf.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Protocol

from ..clock import monotonic
from ..reentrant import make_lock
from .tls import TLS_RECORD_SIZE, TlsChannel
from .waiting import POLL_INTERVAL, make_read_poll, wait_ready

MAX_READ_SIZE, MAX_DEFLATED_READ_SIZE = 262_144, 65_536
"""The most bytes of a read: the fewer, the more often a large message waits for the kernel; and the most of a stream
whose bytes become a thousand times as many."""
MIN_READ_SIZE = 4096
MAX_WRITE_SIZE = 262_144


class Watcher(Protocol):
    """Waits for the bytes of a stream, once it has a link."""

    def wake(self) -> None:
        """Look at the link soon; from any thread."""

    def watch_writable(self) -> bool:
        """Look at the link, once, when the socket becomes writable, and return whether it will."""

    def ignore_writable(self) -> None:
        """Take back `watch_writable`."""


class DuplexStream:
    """A socket whose two directions do not wait for each other.

    Args:
        sock: a connected socket, set to non-blocking here; an `ssl.SSLSocket` has completed its handshake.

    Attributes:
        read_deadline: when `fill` times out (``time.monotonic``).
        write_deadline: when `send` times out.
        should_continue: checked regularly while `fill` waits, if set; the wait times out once it returns false.
        read_lock: guards `recv_available`, and what is parsed from the bytes that it received.
        state_lock: guards whether the descriptor is open; shared with the link on top.
        watcher: waits for the bytes; ``None`` before there is a link, and after its end.
        last_activity: when the peer last sent a byte, or accepted bytes after a stall.
        stalled_since: since when the peer has accepted nothing, ``None`` while it does.
        max_read_size: the most bytes that one read returns.
        secure: whether the stream is encrypted; then a write that was tried must be repeated before any other.
    """

    __slots__ = (
        "__weakref__", "_closed", "_read_error", "_read_poll", "_read_size", "_recv", "_send", "_sock", "_tls",
        "last_activity", "max_read_size", "read_deadline", "read_lock", "secure", "should_continue", "stalled_since",
        "state_lock", "watcher", "write_deadline",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._tls = TlsChannel(sock) if isinstance(sock, ssl.SSLSocket) else None
        self.secure = self._tls is not None
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[bytes | memoryview], int] = sock.send
        self.watcher: Watcher | None = None
        self._read_poll: Callable[[float], object] | None = None
        # Reentrant, both: a signal handler may read or close on the thread that it interrupted within them.
        self.read_lock = make_lock()
        self.state_lock = make_lock()
        self._read_error: Exception | None = None
        self._read_size, self.max_read_size = MIN_READ_SIZE, MAX_READ_SIZE
        self._closed = False
        self.read_deadline = math.inf
        self.write_deadline = math.inf
        self.should_continue: Callable[[], bool] | None = None
        self.last_activity = monotonic()
        self.stalled_since: float | None = None

    @property
    def locks(self) -> tuple[threading.RLock, ...]:
        """The leaves among its locks."""
        return (self.state_lock, *(() if self._tls is None else (self._tls.lock,)))

    # -- reading -----------------------------------------------------------------------------------------------------

    def recv_available(self, chunks: list[bytes], patience: float = POLL_INTERVAL) -> bool:
        """Receive what one system call returns, without waiting for it, and return whether there was anything.

        Args:
            chunks: the received bytes are appended to it in the same step that receives them.
            patience: how many seconds to wait where TLS has to write before it can read.

        Raises:
            EOFError: the peer closed the stream.
            OSError: the connection broke. Every later call raises the same error.
        """
        if self._read_error is not None:
            raise self._read_error
        try:
            # extend(map()) receives and stores in one builtin call: an interrupt between the system call and an
            # assignment would lose the bytes.
            if self._tls is None:
                chunks.extend(map(self._recv, (self._read_size,)))
            else:
                self._tls.recv_into(chunks, self._read_size, patience)
        except BlockingIOError:
            return False
        except OSError as error:
            self._read_error = error
            raise
        size = len(chunks[-1])
        if not size:
            self._read_error = EOFError("the peer closed the stream without a close frame")
            raise self._read_error
        self.last_activity = monotonic()
        # CPython allocates the full read size and shrinks it: large reads of little data fragment the heap.
        if size == self._read_size:
            self._read_size = min(self.max_read_size, 4 * size)
        elif 8 * size < self._read_size > MIN_READ_SIZE:
            self._read_size = max(MIN_READ_SIZE, self._read_size // 2)
        return True

    def fill(self, chunks: list[bytes]) -> None:
        """Wait until `read_deadline` for bytes, and append them to ``chunks``; before there is a link.

        Raises:
            TimeoutError: nothing was received in time.
            EOFError: the peer closed the stream.
            OSError: the connection broke.
        """
        self.wait_readable()
        # Readiness is a hint: a TLS record may be incomplete.
        while not self.recv_available(chunks):
            self.wait_readable()

    # -- writing -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> int:
        """Send all of ``data`` before `write_deadline`; by the reader only.

        Raises:
            TimeoutError: the peer did not accept all of it in time; how much it accepted is unknown.
            OSError: the connection broke.
        """
        view = memoryview(data)
        sent: list[int] = []
        try:
            while view:
                self.send_some(view, self.write_deadline, sent)
                view, sent = view[sent[0] :], []
        except TimeoutError:
            raise
        except OSError:
            if self._tls is not None:
                self._tls.raise_alert()
            raise
        return len(data)

    def send_some(self, view: memoryview | bytes, until: float, sent: list[int]) -> None:
        """Send at least one byte, and append the number of bytes to ``sent``; by the holder of the write lock.

        Args:
            view: the bytes to send.
            until: when to stop waiting for the peer to accept some (``time.monotonic``).
            sent: an empty list, which receives the number of bytes in the same step that sends them.

        Raises:
            TimeoutError: the peer accepted nothing in time.
            OSError: the connection broke.
        """
        # OpenSSL reports a write once all of it is sent: one record at a time shows that a slow peer makes progress.
        part = view[: TLS_RECORD_SIZE if self.secure else MAX_WRITE_SIZE]
        while True:
            try:
                if self._tls is None:
                    attempt = map(self._send, (part,))
                    # As in `recv_available`: an interrupt never leaves it open how much was sent. What interrupted this
                    # thread may have sent the part; no call, and so no interrupt, between this look and the attempt.
                    if not sent:
                        sent.extend(attempt)
                else:
                    self._tls.send_from(part, sent, until)
            except BlockingIOError:
                self.stalled_since = self.stalled_since or monotonic()
                wait_ready([], [self._sock], until)
            else:
                if self.stalled_since is not None:
                    self.stalled_since, self.last_activity = None, monotonic()
                return

    # -- waiting and waking ------------------------------------------------------------------------------------------

    def poll_readable(self, until: float) -> bool:
        """Wait until a moment for bytes, without receiving them, and return whether there are any; by a leader."""
        milliseconds = (until - monotonic()) * 1000
        if self.has_decrypted():
            return True
        if milliseconds < 0:
            return False
        # A poll object refuses concurrent use: a signal handler that waits here finds None, and makes its own.
        try:
            poll, self._read_poll = self._read_poll or make_read_poll(self._sock), None
        except ValueError:
            return True  # the stream is closed, as receiving from it shows
        try:
            return bool(poll(milliseconds))
        finally:
            self._read_poll = poll

    def wait_readable(self) -> None:
        """Wait until `read_deadline` for bytes, without receiving them; before there is a link.

        Raises:
            TimeoutError: there was nothing to receive in time.
        """
        if self.has_decrypted():
            return
        while self.should_continue is not None and self.should_continue():
            now = monotonic()
            with contextlib.suppress(TimeoutError):
                wait_ready([self._sock], [], min(self.read_deadline, now + POLL_INTERVAL))
                return
            if now >= self.read_deadline:
                break
        wait_ready([self._sock], [], self.read_deadline if self.should_continue is None else 0.0)

    def takes_no_bytes(self) -> bool:
        """Return whether TLS has to write before it can read, and the peer accepted nothing; for the last attempt."""
        if self._tls is None or not self._tls.wants_write:
            return False
        self._tls.wants_write = False
        return True

    def has_decrypted(self) -> bool:
        """Return whether there are bytes that TLS has decrypted already, for which no poll waits."""
        return self._tls is not None and self._tls.has_decrypted()

    def watch_writable(self, is_stalled: bool) -> bool:
        """Have the link looked at, once, when the peer accepts data again; by the poller.

        Args:
            is_stalled: the peer accepts no more for now; otherwise nothing is to be waited for any more.

        Returns:
            Whether it will be.
        """
        watcher = self.watcher
        if watcher is None:
            return False
        # A TLS stream may also wait for bytes of the peer: it is writable all the time then.
        if is_stalled and self.stalled_since is not None:
            return watcher.watch_writable()
        watcher.ignore_writable()
        return False

    def is_peer_closed(self) -> bool:
        """Return whether the peer has closed the stream, whatever is unread before that."""
        if not hasattr(select, "poll"):
            return False
        poll = select.poll()
        # Not POLLIN: unread bytes would end the wait at once. Without POLLRDHUP, POLLHUP and POLLERR still arrive.
        poll.register(self._sock, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(0))

    def wake(self) -> None:
        """Have the link looked at soon; from any thread."""
        watcher = self.watcher
        if watcher is not None:
            watcher.wake()

    def interrupt(self) -> None:
        """Shut down both directions, which frees every thread that waits here; from any thread.

        The descriptor stays open until the link is released.
        """
        # Under the lock: the number of a closed descriptor may belong to another file already.
        with self.state_lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown, which discards the TLS object while the reader may use it.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def finish_sending(self) -> None:
        """Shut down the sending direction."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def linger(self, seconds: float) -> None:
        """Finish sending, and read until the peer closes the stream or time is up; where there will be no link."""
        # close() with unread bytes resets the connection, which discards what we sent last on its way to the peer.
        self.read_deadline = monotonic() + seconds
        self.finish_sending()
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.fill([])

    def close_in_child(self) -> None:
        """Close the descriptors in a forked child; the parent's connection is not affected."""
        # No lock: a thread of the parent may have held it at the fork, and the child has only this thread. Only
        # close(): a shutdown would end the parent's connection.
        if self._closed:
            return  # the numbers of the descriptors may belong to other files by now
        self._closed = True
        self._sock.close()

    def close(self) -> None:
        """Close the descriptor, which nothing watches, once no thread reads or writes. Idempotent."""
        with self.state_lock:
            if self._closed:
                return
            self._closed = True
            # A late read must not reach the descriptor: its number may belong to another file by then.
            self._read_error = OSError(errno.EBADF, "the stream is closed")
            self._close_socket()

    def _close_socket(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._sock.fileno()

    @property
    def socket(self) -> socket.socket:
        """The socket."""
        return self._sock
