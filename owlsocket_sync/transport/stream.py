"""A connected socket that one thread reads and others write: buffered, with a deadline for either direction.

Threads: `recv` and `send` belong to the reader; `send_some` to whoever holds the link's write lock. The socket never
blocks; a thread waits for readiness in `poll`, outside of any lock. A TLS object must never be in read and write at
once (OpenSSL demands it and CPython does not see to it), so each single call into it holds ``_tls_lock``; a plain
socket needs none. `wake` and `interrupt` free the reader from any thread; only the reader closes.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from .readiness import SLICE, wait_ready
from .tls import tls_failure

READ_SIZE = 65_536
LEAST_READ_SIZE = 4096
WRITE_SIZE = 262_144
RECORD_SIZE = 16_384

_WANT_READ = (BlockingIOError, ssl.SSLWantReadError)


class Woken(TimeoutError):
    """The reader was asked to look up from its reading."""


class BudgetExceeded(ConnectionError):
    """The peer sent more than it may in a handshake."""


class DuplexStream:
    """The stream that `websocket.WebSocket` takes for a socket.

    Args:
        sock: connected; its timeout becomes 0. A `ssl.SSLSocket` has done its handshake.

    Attributes:
        read_until: the moment (``time.monotonic``) at which `recv` gives up.
        write_until: likewise for `send`.
        budget: how many bytes may still be read, ``None`` for any number.
        seen: what was read under a budget.
        wanted: asked now and then while `recv` waits, where it is set; when it says no, `recv` gives up.
        before_wait: called by the reader when all that came was taken, before it waits for more.
        heard_at: when the peer last gave a sign of life: when a byte came, or when it took what it had no room for.
        stalled_at: since when it has no room for what is to be sent, ``None`` while it has.
        secure: whether it is encrypted; then a write that was tried must be tried again before any other.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.secure = isinstance(sock, ssl.SSLSocket)
        self._tls_lock: AbstractContextManager[object] = threading.Lock() if self.secure else contextlib.nullcontext()
        self._fileno = sock.fileno()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._buffer = b""
        self._position = 0
        self._read_size = LEAST_READ_SIZE
        self._closed = False  # websocket-client looks at this name before it closes
        self._close_lock = threading.Lock()
        self.read_until = math.inf
        self.write_until = math.inf
        self.budget: int | None = None
        self.seen = bytearray()
        self.wanted: Callable[[], bool] | None = None
        self.before_wait: Callable[[], None] | None = None
        self.heard_at = time.monotonic()
        self.stalled_at: float | None = None

    # -- reading -----------------------------------------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes, ``b""`` at the end; by the reader only.

        Raises:
            Woken: `wake` was called.
            TimeoutError: nothing came until `read_until`.
            BudgetExceeded: the budget is used up.
            OSError: the connection broke.
        """
        if self.budget is not None:
            if size and not self.budget:
                raise BudgetExceeded("the peer's answer to the handshake is too large")
            if time.monotonic() >= self.read_until:
                raise TimeoutError("the handshake took too long")  # what is here is read by the byte: that takes time
            size = min(size, self.budget)
        if size and self._position >= len(self._buffer):
            self._fill()
        chunk = self._buffer[self._position : self._position + size]
        self._position += len(chunk)
        if self.budget is not None:
            self.budget -= len(chunk)
            self.seen += chunk
        return chunk

    def _fill(self) -> None:
        """Wait for bytes and take all that one system call gives."""
        if self.before_wait is not None:
            self.before_wait()
        pending = self.secure and self._pending()
        while True:
            if not pending:
                self._await_readable()
            pending = False
            try:
                with self._tls_lock:
                    data = self._sock.recv(self._read_size)
            except _WANT_READ:
                continue
            except ssl.SSLWantWriteError:
                wait_ready([], [self._sock], self.read_until)
                pending = True
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
                break
            except ssl.SSLError as error:
                raise self._explained(error) from error
            else:
                break
        self._buffer, self._position = data, 0
        if data:
            self.heard_at = time.monotonic()
        self._adapt(len(data))

    def _adapt(self, size: int) -> None:
        """Ask for as much as tends to come: large reads that bring little leave holes in the heap of the process."""
        if size == self._read_size:
            self._read_size = min(READ_SIZE, 4 * size)
        elif 8 * size < self._read_size:
            self._read_size = max(LEAST_READ_SIZE, self._read_size // 2)

    def _pending(self) -> bool:
        with self._tls_lock:
            return self._sock.pending() > 0  # type: ignore[attr-defined, no-any-return]

    def _explained(self, error: ssl.SSLError) -> OSError:
        host = getattr(self._sock, "server_hostname", None)
        return error if host is None else tls_failure(error, host)

    # -- writing -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> int:
        """Send all of it, waiting until `write_until` for the peer to take it; by the reader only.

        Raises:
            TimeoutError: it was not taken in time; how much was is unknown to the caller.
            OSError: the connection broke.
        """
        view = memoryview(data)
        try:
            while len(view):
                view = view[self.send_some(view, self.write_until) :]
        except TimeoutError:
            raise
        except OSError:
            if self.secure:
                self._look_for_alert()
            raise
        return len(data)

    def _look_for_alert(self) -> None:
        """Raise what the peer said before it went: in TLS 1.3 it refuses a client certificate after our handshake."""
        try:
            with self._tls_lock:
                self._sock.recv(READ_SIZE)
        except (*_WANT_READ, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return
        except ssl.SSLError as error:
            raise self._explained(error) from error
        except OSError:
            return  # it went without a word

    def send_some(self, view: memoryview | bytes, until: float) -> int:
        """Send a part of it, at least a byte, waiting until then for room; raises what `send` raises."""
        # OpenSSL says nothing of a part before it has sent all: record by record, a slow peer is seen to take them.
        part = view[: RECORD_SIZE if self.secure else WRITE_SIZE]
        while True:
            try:
                with self._tls_lock:
                    sent = self._sock.send(part)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.stalled_at = self.stalled_at or time.monotonic()
                wait_ready([], [self._sock], until)
            except ssl.SSLWantReadError:
                self._await_news(until)
            else:
                if self.stalled_at is not None:
                    self.stalled_at, self.heard_at = None, time.monotonic()
                return sent

    def _await_news(self, until: float) -> None:
        """Wait for what the peer must say before we may write; the reader may take it first, so look again soon."""
        soon = time.monotonic() + SLICE
        try:
            wait_ready([self._sock], [], min(until, soon))
        except TimeoutError:
            if until <= soon:
                raise

    # -- waiting and waking ------------------------------------------------------------------------------------------

    def _await_readable(self) -> None:
        if self._wake_read in self._wait_read([self._sock, self._wake_read]):
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)
            raise Woken("asked to look up")

    def _wait_read(self, readers: list[socket.socket]) -> list[socket.socket]:
        while self.wanted is not None and self.wanted():
            now = time.monotonic()
            with contextlib.suppress(TimeoutError):
                return wait_ready(readers, [], min(self.read_until, now + SLICE))
            if now >= self.read_until:
                break
        return wait_ready(readers, [], self.read_until if self.wanted is None else 0.0)

    def await_end(self, seconds: float) -> bool:
        """Whether the peer ends the stream within so many seconds; by the reader, while it does not read."""
        if not hasattr(select, "poll"):
            time.sleep(seconds)
            return False
        poll = select.poll()
        poll.register(self._sock, getattr(select, "POLLRDHUP", 0))
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def wake(self) -> None:
        """Have `recv` raise `Woken`, now or when it next waits; from any thread."""
        with self._close_lock:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):
                    self._wake_write.send(b"\0")

    def interrupt(self) -> None:
        """End both directions at once; whoever waits here is freed, the descriptor stays; from any thread."""
        with self._close_lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown: that throws the TLS object away under the reader.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def end_writing(self) -> None:
        """Let the peer see the end of what we say; reading goes on."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def linger(self, seconds: float) -> None:
        """End our direction and let the peer read what we said before it sees the end; by the reader.

        Closing with unread bytes would reset the connection, and take our last words with it.
        """
        self.read_until = time.monotonic() + seconds
        self.end_writing()
        with contextlib.suppress(OSError):
            while self.recv(READ_SIZE):
                self._position = len(self._buffer)

    def abandon(self) -> None:
        """In a forked child: let go of the descriptors; the parent's connection goes on untouched."""
        self._closed = True
        for one in (self._sock, self._wake_read, self._wake_write):
            one.close()

    def close(self) -> None:
        """Close the descriptor; by the reader only, once nobody writes."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._sock.close()
            self._wake_read.close()
            self._wake_write.close()

    # -- what websocket-client asks of a socket ----------------------------------------------------------------------

    def fileno(self) -> int:
        """The descriptor."""
        return self._fileno

    def gettimeout(self) -> float:
        """Zero: this stream waits by itself, until its own deadlines."""
        return 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Nothing: deadlines are set as attributes."""

    def shutdown(self, how: int = socket.SHUT_RDWR) -> None:
        """The same as `interrupt`."""
        self.interrupt()
