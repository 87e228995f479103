"""The progress of many calls: a bar of ``tqdm``, where that is installed, or a function of the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import MissingExtra

ReportProgress = Callable[[int, "int | None"], object]
"""Gets the number of results so far, and how many there will be, ``None`` where that is unknown."""


class Progress(Protocol):
    """Counts the results of many calls."""

    def update(self) -> object:
        """Count one more."""

    def close(self) -> object:
        """Stop counting."""


class NullProgress:
    """Progress that shows nothing; a context manager, as a bar is."""

    def update(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> NullProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class ReportedProgress(NullProgress):
    """Progress that a function hears of.

    Args:
        report: called for each result.
        total: the number of results; ``None`` where it is unknown.
    """

    def __init__(self, report: ReportProgress, total: int | None) -> None:
        self._report, self._total = report, total
        self._count = 0

    def update(self) -> None:
        """Report one more."""
        self._count += 1
        self._report(self._count, self._total)


def make_progress(progress: bool | ReportProgress, total: int | None, description: str | None) -> Progress:
    """Return the progress that an option ``progress=`` asks for.

    Raises:
        TypeError: the option is neither a bool nor callable.
        MissingExtra: it asks for a bar, and ``tqdm`` is not installed.
    """
    if callable(progress):
        return ReportedProgress(progress, total)
    if not isinstance(progress, bool):
        raise TypeError(f"progress must be True, False or a function (done, total), not {progress!r}")
    bar: Progress = progress_bar(total, description) if progress else NullProgress()
    return bar


def progress_bar(total: int | None, description: str | None) -> Any:
    """Return a bar of ``tqdm``, for a notebook or a terminal; raises what `make_progress` raises."""
    try:
        from tqdm.auto import tqdm  # for those who ask for a bar alone
    except ModuleNotFoundError as error:
        # The missing package may be a dependency of tqdm's bar for notebooks.
        missing = error.name or "tqdm"
        advice = "or pass a function (done, total) as progress="
        raise MissingExtra(f"{missing} is not installed: python -m pip install {missing}, {advice}", missing) from error
    # tqdm starts a monitor thread for bars that are updated rarely; miniters=1 makes that thread unnecessary.
    unmonitored = type("Bar", (tqdm,), {"monitor_interval": 0})
    # Its own lock is one of processes, for which Python 3.14 starts a helper process.
    unmonitored.set_lock(getattr(tqdm, "_lock", None) or threading.RLock())  # type: ignore[attr-defined]
    return unmonitored(total=total, desc=description, miniters=1)
