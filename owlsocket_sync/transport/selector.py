"""Waiting for many sockets on one thread: by epoll, or by what `selectors` offers where there is no epoll.

Each socket can be muted: its bytes then wake no thread. A leader (see `runtime.reader`) mutes its socket, and unmutes
it afterwards, each in one builtin call, which an interrupt finds done or not begun. A mute is a hint for speed: one
that comes late, and meets the next socket with the same number, is undone by its leader, and by each wake-up of that
socket.

Threads: one thread polls, and calls all methods that do not say otherwise; any thread adds, mutes, unmutes and wakes.
"""

from __future__ import annotations

import os
import select
import selectors
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from .waiting import EventfdWaker, HasFileno, SocketPairWaker

READABLE, WRITABLE, BROKEN = 1, 4, 24
"""Of what is ready: bytes or an end, room, an error. The values are those of epoll."""

WOKEN = 1 << 16
"""In place of what is ready: another thread asks for a look."""

_MUTED = getattr(select, "EPOLLET", 0)  # without the edge, an error of a muted socket would wake without end


class EpollSelector:
    """A selector on epoll; whatever changes takes effect for a thread that waits already.

    Attributes:
        waker: wakes the thread that polls; from any thread.
        poll: waits so many seconds, without limit for ``None`` or -1, and returns numbers of descriptors, with what is
            ready.
        masked: the sockets that `mask` has muted, and that their leader does not unmute.
    """

    masked: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.waker = EventfdWaker() if hasattr(os, "eventfd") else SocketPairWaker()
        try:
            self._epoll = select.epoll()
        except BaseException:
            self.waker.close()
            raise
        self._epoll.register(self.waker.fileno(), select.EPOLLIN)
        self.poll: Callable[[float | None, int], Sequence[tuple[int, int]]] = self._epoll.poll
        self._modify = self._epoll.modify  # bound once for all sockets

    def add(self, fileno: int) -> tuple[Callable[[], object], Callable[[], object]]:
        """Watch a socket for bytes; return the functions that mute and unmute it; from any thread."""
        self._epoll.register(fileno, select.EPOLLIN)
        return partial(self._modify, fileno, _MUTED), partial(self._modify, fileno, select.EPOLLIN)

    def remove(self, fileno: int) -> None:
        """Stop watching a socket; before it is closed: a forked child may keep what the descriptor stands for open."""
        with suppress(OSError, ValueError):
            self._epoll.unregister(fileno)

    def mask(self, fileno: int) -> None:
        """Mute a socket."""
        with suppress(OSError, ValueError):
            self._epoll.modify(fileno, _MUTED)

    def unmask(self, fileno: int) -> None:
        """Unmute a socket."""
        with suppress(OSError, ValueError):
            self._epoll.modify(fileno, select.EPOLLIN)

    def watch_writable(self, sock: HasFileno, copy: int | None) -> int | None:
        """Let a socket wake the thread, once, when it becomes writable; muting does not affect that.

        Args:
            sock: the socket.
            copy: the descriptor that an earlier call returned, if there was one.

        Returns:
            The descriptor by which the socket is named then, ``None`` if there is none.
        """
        events = select.EPOLLOUT | select.EPOLLONESHOT
        made = None
        try:
            if copy is not None:
                self._epoll.modify(copy, events)
                return copy
            # A descriptor of its own: leaders change the events of the other one, in a single step each.
            made = os.dup(sock.fileno())
            self._epoll.register(made, events)
        except OSError:  # such as that of a process without free descriptors
            if made is not None:
                os.close(made)
            return copy if copy is None else self.ignore_writable(copy)
        return made

    def ignore_writable(self, copy: int) -> None:
        """Close a descriptor that `watch_writable` returned."""
        # The entry would outlive its descriptor: it belongs to the open file, which has another one.
        self.remove(copy)
        os.close(copy)

    def close(self) -> None:
        """Close the descriptors, also in a forked child: nothing that both processes share changes."""
        self._epoll.close()
        self.waker.close()

    close_in_child = close


class PortableSelector:
    """An `EpollSelector` for other systems, and for gevent, which patches `selectors`.

    A socket that a leader has muted wakes the thread that polls once more, which then masks it; the leader wakes that
    thread when it unmutes the socket.
    """

    def __init__(self) -> None:
        self.waker = SocketPairWaker()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.waker.fileno(), selectors.EVENT_READ)
        self._added: deque[int] = deque()
        self._masks: dict[int, int] = {}
        self.masked: set[int] = set()

    def poll(self, seconds: float | None, _: int = -1) -> list[tuple[int, int]]:
        """Wait as `EpollSelector.poll` does."""
        while self._added:
            self._set(self._added.popleft(), selectors.EVENT_READ)
        ready = self._selector.select(None if seconds is None or seconds < 0 else seconds)
        found = []
        for key, events in ready:
            if events & selectors.EVENT_WRITE:
                self._set(key.fd, self._masks.get(key.fd, 0) & ~selectors.EVENT_WRITE)
                found.append((key.fd, WRITABLE))
            if events & selectors.EVENT_READ:
                found.append((key.fd, READABLE))
        return found

    def _set(self, fileno: int, mask: int) -> None:
        """Watch a socket for these events, none of them for 0."""
        before = self._masks.get(fileno, 0)
        if mask == before:
            return
        self._masks[fileno] = mask
        with suppress(OSError, ValueError, KeyError):
            if not mask:
                self._selector.unregister(fileno)
            elif before:
                self._selector.modify(fileno, mask)
            else:
                self._selector.register(fileno, mask)

    def add(self, fileno: int) -> tuple[Callable[[], object], Callable[[], object]]:
        """Watch a socket for bytes; return the functions that mute and unmute it; from any thread."""
        self._added.append(fileno)
        with suppress(OSError):
            self.waker.wake()
        return _do_nothing, self.waker.wake

    def remove(self, fileno: int) -> None:
        """Stop watching a socket."""
        with suppress(ValueError):
            self._added.remove(fileno)
        self._set(fileno, 0)
        self._masks.pop(fileno, None)
        self.masked.discard(fileno)

    def mask(self, fileno: int) -> None:
        """Mute a socket."""
        self._set(fileno, self._masks.get(fileno, 0) & ~selectors.EVENT_READ)
        self.masked.add(fileno)

    def unmask(self, fileno: int) -> None:
        """Unmute a socket."""
        self._set(fileno, self._masks.get(fileno, 0) | selectors.EVENT_READ)
        self.masked.discard(fileno)

    def watch_writable(self, sock: HasFileno, copy: int | None) -> int | None:
        """Let a socket wake the thread, once, when it becomes writable, and return its number."""
        fileno = sock.fileno()
        self._set(fileno, self._masks.get(fileno, 0) | selectors.EVENT_WRITE)
        return fileno

    def ignore_writable(self, copy: int) -> None:
        """Do not let a socket wake the thread when it becomes writable."""
        self._set(copy, self._masks.get(copy, 0) & ~selectors.EVENT_WRITE)

    def close(self) -> None:
        """Close the descriptors."""
        self._selector.close()
        self.waker.close()

    def close_in_child(self) -> None:
        """Close the copies of the descriptors; the selector may be in use by a greenlet that survived the fork."""
        self.waker.close()


def _do_nothing() -> Any:
    """Take the place of muting."""


AnySelector = EpollSelector | PortableSelector


def make_selector() -> AnySelector:
    """Return the best selector that this system offers."""
    return EpollSelector() if hasattr(select, "epoll") else PortableSelector()
