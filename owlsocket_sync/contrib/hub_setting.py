"""The hub of a setting: a URL, a callable that returns a hub, or the hub itself."""

from __future__ import annotations

import atexit
from typing import Any

from ..hub import Hub, open_hub


def as_hub(value: Any) -> Hub:
    """Return the hub of a setting, which is opened at its first use, and closed at the exit if it was named by a URL.

    Raises:
        ValueError: the value is none, or its URL is not usable.
    """
    if isinstance(value, str):
        opened = open_hub(value)
        atexit.register(opened.close)  # one that was given belongs to the program
        return opened
    hub = value() if callable(value) else value
    if not isinstance(hub, Hub):
        raise ValueError(f"needed is a hub, its URL, or a callable that returns it, not {type(hub).__name__}")
    return hub
