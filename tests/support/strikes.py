"""Interrupts at every point at which the interpreter looks for signals, one after another."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

_CALLED_BY_REFERENCES = {
    ("_remove", weakref.WeakSet.__init__.__code__.co_filename),
    ("remove", weakref.__file__),
    ("__call__", weakref.__file__),
}
"""The functions of the standard library that run when what they refer to is gone."""


class Strike:
    """Does something at the so-manieth point at which the interpreter looks for signals."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.left = at
        self.struck = False
        self._action = action

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_return") and not self.struck:
            self.left -= 1
            if self.left < 0 and not _is_lost_in(frame):
                self.struck = True
                self._action()


def struck(at: int, function: Callable[[], object], action: Callable[[], None] | None = None) -> bool:
    """Call a function, and interrupt it there, by default with `KeyboardInterrupt`; whether it came to that."""
    strike = Strike(at, action or _interrupt)
    # A garbage collection runs finalizers on this thread: they would be counted, and an interrupt in them is lost.
    collects = gc.isenabled()
    gc.disable()
    try:
        sys.setprofile(strike)
        function()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
        if collects:
            gc.enable()
    return strike.struck


def _is_lost_in(frame: FrameType | None) -> bool:
    """Return whether the interpreter would report an exception and go on, instead of raising it."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or (code.co_name, code.co_filename) in _CALLED_BY_REFERENCES:
            return True
        frame = frame.f_back
    return False


def _interrupt() -> None:
    raise KeyboardInterrupt
