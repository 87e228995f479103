"""What servers of other libraries leave behind."""

from __future__ import annotations

import os


def close_pipe(listener: object) -> None:
    """Close the pipe that woke the acceptor of websockets; before 17 it stays open."""
    for end in ("shutdown_watcher", "shutdown_notifier"):
        descriptor = getattr(listener, end, None)
        if isinstance(descriptor, int):
            os.close(descriptor)
