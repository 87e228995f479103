"""What many tests need: deadlines that a slow machine can stretch, and conditions to wait for."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Amount = TypeVar("Amount")

WHOLE = False
"""Whether stress tests run whole (``pytest -m stress``); set before any test module is imported."""

SCALE = float(os.environ.get("OWLSOCKET_TIME_SCALE", "1"))
VECTORS = Path(__file__).parents[1] / "vectors"


def scaled(seconds: float) -> float:
    """So many seconds, on this machine."""
    return seconds * SCALE


def whole(short: Amount, long: Amount) -> Amount:
    """How much a stress test takes on: the long form where stress tests were asked for, the short one else."""
    return long if WHOLE else short


def examples(short: int, long: int) -> int:
    """Return how many examples a property is tried on: all of them in stress and with ``HYPOTHESIS_PROFILE=whole``."""
    return long if WHOLE or os.environ.get("HYPOTHESIS_PROFILE") == "whole" else short


def load(name: str) -> Any:
    """The JSON of a file of vectors."""
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a condition holds, and fail when it does not within its time."""
    end = time.monotonic() + scaled(seconds)
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < end, "what was waited for did not come true"
        tick.wait(0.005)


class Collector:
    """A handler that keeps what it gets, and can be waited for."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._came = threading.Condition()

    def __call__(self, *arguments: Any) -> None:
        with self._came:
            self.items.append(arguments[0] if len(arguments) == 1 else arguments)
            self._came.notify_all()

    def wait(self, count: int, seconds: float = 5.0) -> list[Any]:
        """The first so many items, once they are here."""
        with self._came:
            arrived = self._came.wait_for(lambda: len(self.items) >= count, scaled(seconds))
        assert arrived, f"{len(self.items)} of {count} came: {self.items!r}"
        return self.items[:count]
