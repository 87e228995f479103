"""The lifetime of an echo server: it prints its port on stdout, and ends when its stdin is closed."""

from __future__ import annotations

import os
import sys
import threading


def announce(port: int) -> None:
    """Print the port, and end the process when stdin is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(port, flush=True)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    # From a thread: sys.exit would end that thread only.
    os._exit(0)
