"""A bar on stderr while many calls are under way: on a terminal, and where results do not scroll through it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .outcome import is_terminal, may_paint


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Gives what is to be told how many are done, and how many of them failed; ``total`` is ``None`` where unknown."""
    if not is_terminal(sys.stderr) or is_terminal(sys.stdout):
        yield lambda done, failed: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not may_paint(sys.stderr))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]} failed", markup=False),
    )
    with Progress(*columns, console=console, redirect_stdout=False) as bar:
        task = bar.add_task(title, total=total, failed=0)
        yield lambda done, failed: bar.update(task, completed=done, failed=failed)
