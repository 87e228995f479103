"""Libraries that replace threads and sockets: gevent is supported, eventlet is not."""

from __future__ import annotations

import sys

from .errors import SocketInitializationError

PATCHED = ("socket", "thread", "select", "os")


def refuse_eventlet() -> None:
    """Raise `SocketInitializationError` if eventlet has replaced what the threads of a connection stand on."""
    # Looked up, not imported: a process that has patched anything has loaded it.
    patcher = sys.modules.get("eventlet.patcher")
    is_patched = getattr(patcher, "is_monkey_patched", None)
    # It removes epoll and methods of sockets, and lets one greenlet at a time wait for a socket.
    if is_patched is not None and any(map(is_patched, PATCHED)):
        raise SocketInitializationError(
            "eventlet.monkey_patch() has replaced the threads and sockets of this process, which is not supported: use "
            "native threads, or gevent"
        )
