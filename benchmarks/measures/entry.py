"""Who takes part in a measure, and where each of them finds its server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..arena import Arena, Missing
from ..clients import CONTESTANTS
from ..result import Result, result_of
from ..turns import Task, take_turns


def tasks_for(
    arena: Arena, names: Iterable[str], function: str, *, secure: bool = False, **options: Any
) -> tuple[dict[str, Task], dict[str, str]]:
    """A task for each contestant whose server can be started; and who cannot take part, and why."""
    tasks: dict[str, Task] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            port = arena.port("tls" if secure else CONTESTANTS[name].server)
        except Missing as missing:
            absent[name] = str(missing)
            continue
        where = {"port": port, "authority": str(arena.certificate) if secure else None}
        tasks[name] = Task(function, {"name": name, "where": where, **options})
    return tasks, absent


def compete(
    arena: Arena,
    names: Iterable[str],
    function: str,
    rounds: int,
    title: str,
    columns: Mapping[str, str],
    *,
    secure: bool = False,
    **options: Any,
) -> Result:
    """Let contestants take turns, and say what came of it."""
    tasks, absent = tasks_for(arena, names, function, secure=secure, **options)
    return result_of(title, columns, take_turns(tasks, rounds), absent)
