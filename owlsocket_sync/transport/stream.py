"""A connected socket that one thread reads and others write: buffered, with a deadline for either direction.

Threads: `capture` and `unread` belong to whoever holds the link's reading lock, everything else about reading to the
reader; `send_some` to whoever holds the write lock. The socket never blocks; a thread waits for readiness in
`readiness`, outside of any lock. Whoever reads may be interrupted (by a signal, in the main thread): bytes are captured
in one go, so that none is ever lost. A TLS object must never be in read and write at once (OpenSSL demands it and
CPython does not see to it), so each single call into it holds ``_tls_lock``; a plain socket needs none. `wake` and
`interrupt` free the reader from any thread; only the reader closes.
"""

from __future__ import annotations

import contextlib
import errno
import math
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .readiness import SLICE, Readable, make_gate, wait_ready
from .tls import tls_failure
from .unread import Unread

READ_SIZE = 65_536
LEAST_READ_SIZE = 4096
WRITE_SIZE = 262_144
RECORD_SIZE = 16_384

_WANT_READ = (BlockingIOError, ssl.SSLWantReadError)


class Woken(TimeoutError):
    """The reader was asked to look up from its reading."""


class DuplexStream:
    """A socket with two directions that do not wait for one another.

    Args:
        sock: connected; its timeout becomes 0. A `ssl.SSLSocket` has done its handshake.

    Attributes:
        read_until: the moment (``time.monotonic``) at which `recv` gives up.
        write_until: likewise for `send`.
        wanted: asked now and then while `recv` waits, where it is set; when it says no, `recv` gives up.
        unread: what was captured and not taken yet.
        gate: what the reader waits at; while it is shut, bytes that come do not wake it.
        heard_at: when the peer last gave a sign of life: when a byte came, or when it took what it had no room for.
        stalled_at: since when it has no room for what is to be sent, ``None`` while it has.
        secure: whether it is encrypted; then a write that was tried must be tried again before any other.
        await_readable: wait for bytes without taking them, until then; by one thread that reads in place of the reader.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.secure = isinstance(sock, ssl.SSLSocket)
        self._tls_lock: AbstractContextManager[object] = threading.Lock() if self.secure else contextlib.nullcontext()
        # The inner read and write of a TLS socket do in one go what `recv` and `send` do in several, see `capture`.
        inner: Any = sock._sslobj if isinstance(sock, ssl.SSLSocket) else None  # type: ignore[attr-defined]
        self._receive: Callable[[int], bytes] = inner.read if self.secure else sock.recv
        self._give: Callable[[bytes | memoryview], int] = inner.write if self.secure else sock.send
        self._fileno = sock.fileno()
        self.gate = make_gate(sock)
        self._readable = Readable(sock)
        self.await_readable: Callable[[float], bool] = self._await_decrypted if self.secure else self._readable.wait
        self.unread = Unread()
        self._end: Exception | None = None
        self._read_size = LEAST_READ_SIZE
        self._closed = False
        self._close_lock = threading.Lock()
        self.read_until = math.inf
        self.write_until = math.inf
        self.wanted: Callable[[], bool] | None = None
        self.heard_at = time.monotonic()
        self.stalled_at: float | None = None

    # -- reading -----------------------------------------------------------------------------------------------------

    def capture(self) -> bool:
        """Take in what one system call gives, without waiting; whether there was anything.

        Raises:
            EOFError: the peer ended the stream.
            OSError: the connection broke. What ended it is raised by every later call as well.
        """
        if self._end is not None:
            raise self._end
        later = self.unread.block.later
        try:
            # In one go: an interrupt between the system call and keeping what it gave would lose that.
            if self.secure:
                with self._tls_lock:
                    later.extend(map(self._receive, (self._read_size,)))
            else:
                later.extend(map(self._receive, (self._read_size,)))
        except _WANT_READ:
            return False
        except ssl.SSLWantWriteError:
            wait_ready([], [self._sock], time.monotonic() + SLICE)
            return False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            later.append(b"")
        except ssl.SSLError as error:
            self._end = self._explained(error)
            raise self._end from error
        except OSError as error:
            self._end = error
            raise
        size = len(later[-1])
        if not size:
            self._end = EOFError("the peer ended the stream without a close frame")
            raise self._end
        self.heard_at = time.monotonic()
        if size == self._read_size or 8 * size < self._read_size > LEAST_READ_SIZE:
            self._adapt(size)
        return True

    def _adapt(self, size: int) -> None:
        """Ask for as much as tends to come: large reads that bring little leave holes in the heap of the process."""
        if size == self._read_size:
            self._read_size = min(READ_SIZE, 4 * size)
        else:
            self._read_size = max(LEAST_READ_SIZE, self._read_size // 2)

    def _pending(self) -> bool:
        """Whether there is more that was decrypted already, which no readiness tells of."""
        if not self.secure:
            return False
        with self._tls_lock:
            return self._sock.pending() > 0  # type: ignore[attr-defined, no-any-return]

    def _explained(self, error: ssl.SSLError) -> OSError:
        host = getattr(self._sock, "server_hostname", None)
        return tls_failure(error, host) if host is not None else OSError(*error.args)

    def fill(self) -> None:
        """Wait until `read_until` for bytes, and capture them; by the reader only.

        Raises:
            Woken: `wake` was called.
            TimeoutError: nothing came in time.
            EOFError: the peer ended the stream.
            OSError: the connection broke.
        """
        self.await_news()
        while not self.capture():
            self.await_news()

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes, ``b""`` at the end; by the reader only; raises what `fill` raises."""
        if size and not self.unread:
            try:
                self.fill()
            except EOFError:
                return b""
        chunk = self.unread.take_up_to(size)
        self.unread.commit()
        return chunk

    # -- writing -----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> int:
        """Send all of it, waiting until `write_until` for the peer to take it; by the reader only.

        Raises:
            TimeoutError: it was not taken in time; how much was is unknown to the caller.
            OSError: the connection broke.
        """
        view = memoryview(data)
        taken: list[int] = []
        try:
            while view:
                self.send_some(view, self.write_until, taken)
                view, taken = view[taken[0] :], []
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

    def send_some(self, view: memoryview | bytes, until: float, taken: list[int]) -> None:
        """Send a part of it, at least a byte, waiting until then for room; raises what `send` raises.

        How much it was is added to ``taken``, in one go: an interrupt leaves no doubt about it.
        """
        # OpenSSL says nothing of a part before it has sent all: record by record, a slow peer is seen to take them.
        part = view[: RECORD_SIZE if self.secure else WRITE_SIZE]
        while True:
            try:
                if self.secure:
                    with self._tls_lock:
                        taken.extend(map(self._give, (part,)))
                else:
                    taken.extend(map(self._give, (part,)))
            except (BlockingIOError, ssl.SSLWantWriteError):
                self.stalled_at = self.stalled_at or time.monotonic()
                wait_ready([], [self._sock], until)
            except ssl.SSLWantReadError:
                self._await_news(until)
            else:
                if self.stalled_at is not None:
                    self.stalled_at, self.heard_at = None, time.monotonic()
                return

    def _await_news(self, until: float) -> None:
        """Wait for what the peer must say before we may write; the reader may take it first, so look again soon."""
        soon = time.monotonic() + SLICE
        try:
            wait_ready([self._sock], [], min(until, soon))
        except TimeoutError:
            if until <= soon:
                raise

    # -- waiting and waking ------------------------------------------------------------------------------------------

    def _await_decrypted(self, until: float) -> bool:
        return self._pending() or self._readable.wait(until)

    def await_news(self) -> None:
        """Wait for bytes without taking them, until `read_until`; by the reader only.

        Raises:
            Woken: `wake` was called.
            TimeoutError: nothing came in time.
        """
        if self._pending():
            return None
        while self.wanted is not None and self.wanted():
            now = time.monotonic()
            with contextlib.suppress(TimeoutError):
                return self._await_gate(min(self.read_until, now + SLICE))
            if now >= self.read_until:
                break
        return self._await_gate(self.read_until if self.wanted is None else 0.0)

    def _await_gate(self, until: float) -> None:
        if self.gate.wait(until):
            raise Woken("asked to look up")

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
                self.gate.ring()

    def interrupt(self) -> None:
        """End both directions at once; whoever waits here is freed, the descriptor stays; from any thread."""
        with self._close_lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    # Not SSLSocket.shutdown: that throws the TLS object away under the reader.
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def linger(self, seconds: float) -> None:
        """End our direction and let the peer read what we said before it sees the end; by the reader.

        Closing with unread bytes would reset the connection, and take our last words with it.
        """
        self.read_until = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while self.recv(READ_SIZE):
                pass

    def abandon(self) -> None:
        """In a forked child: let go of the descriptors; the parent's connection goes on untouched."""
        self._closed = True
        self._sock.close()
        self.gate.close()

    def close(self) -> None:
        """Close the descriptor; by the reader only, once nobody writes."""
        with self._close_lock:
            if self._closed:
                return
            self._closed = True
            self._end = OSError(errno.EBADF, "the stream is closed")  # its number may be somebody else's by now
            self._sock.close()
            self.gate.close()

    def fileno(self) -> int:
        """The descriptor."""
        return self._fileno
