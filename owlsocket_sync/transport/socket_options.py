"""The TCP options of every socket of the package, connected or accepted."""

from __future__ import annotations

import contextlib
import socket

USER_TIMEOUT_MS = 300_000

# Not every system has all of these options.
OPTIONS: tuple[tuple[str, str, int], ...] = (
    # A small message must not wait for the acknowledgement of the one before it (RFC 9293, section 3.7.4: Nagle).
    ("IPPROTO_TCP", "TCP_NODELAY", 1),
    # Keepalive probes detect a dead peer while the heartbeat is off.
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 30),
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 10),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    # For data that is never acknowledged, which keepalive probes do not cover (RFC 5482). Long, because Linux also ends
    # a connection whose peer reads nothing for so long, and a slow handler there is allowed to hold the sender up.
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
)


def set_options(sock: socket.socket, options: tuple[tuple[str, str, int], ...] = OPTIONS) -> None:
    """Set the options that the system, and this kind of socket, have."""
    for level, option, value in options:
        if hasattr(socket, option):
            with contextlib.suppress(OSError):  # such as a Unix socket behind a proxy
                sock.setsockopt(getattr(socket, level), getattr(socket, option), value)
