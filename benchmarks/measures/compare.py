"""The tasks of the contestants of a measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..clients import CONTESTANTS
from ..echo_servers import EchoServers, PackageMissing
from ..result import Result, result_of
from ..rounds import Task, run_rounds


def tasks_for(
    servers: EchoServers, names: Iterable[str], function: str, *, secure: bool = False, **options: Any
) -> tuple[dict[str, Task], dict[str, str]]:
    """Return the tasks of the contestants, and the contestants without a server.

    Args:
        servers: the servers of the run.
        names: the contestants.
        function: ``module:function`` that prepares, under `benchmarks.measures`.
        secure: whether to use TLS.
        options: further arguments of the function.

    Returns:
        The tasks by name; and why a contestant cannot take part, by name.
    """
    tasks: dict[str, Task] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            port = servers.port("tls" if secure else CONTESTANTS[name].server)
        except PackageMissing as missing:
            absent[name] = str(missing)
            continue
        where = {"port": port, "authority": str(servers.certificate) if secure else None}
        tasks[name] = Task(function, {"name": name, "where": where, **options})
    return tasks, absent


def compare(
    servers: EchoServers,
    names: Iterable[str],
    function: str,
    rounds: int,
    title: str,
    columns: Mapping[str, str],
    *,
    secure: bool = False,
    **options: Any,
) -> Result:
    """Run the rounds of a measure, and return the result."""
    tasks, absent = tasks_for(servers, names, function, secure=secure, **options)
    return result_of(title, columns, run_rounds(tasks, rounds), absent)
