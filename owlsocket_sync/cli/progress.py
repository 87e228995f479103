"""A progress bar on stderr, where stderr is a terminal and stdout is not: results would scroll past it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .output import is_terminal, use_color


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar inside of the block.

    Args:
        title: the text before the bar.
        total: how many calls there are; ``None`` where the number is unknown.

    Yields:
        A function to call with the numbers of calls that are done and that failed.
    """
    if not is_terminal(sys.stderr) or is_terminal(sys.stdout):
        yield lambda done, failed: None
        return
    # Here, not above: rich takes longer to import than most commands take to run.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not use_color(sys.stderr))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]} failed", markup=False),
    )
    # redirect_stdout=False: stdout is the results, which a script reads byte by byte.
    with Progress(*columns, console=console, redirect_stdout=False) as bar:
        task = bar.add_task(title, total=total, failed=0)
        yield lambda done, failed: bar.update(task, completed=done, failed=failed)
