"""Whether connections that do nothing slow down one that calls, in the same process."""

from __future__ import annotations

import resource
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from owlsocket_sync import Connection, Limits

from ..arena import Arena
from ..child import Turn
from ..clients import Address
from ..clients.ours import open_connection
from ..result import Result, result_of
from ..scale import Scale
from ..turns import Task, take_turns
from .latency import COLUMNS, WARM_UP, time_calls

DESCRIPTORS_EACH = 4
ALONE = "alone"
OBJECTS = 10_000


def measure(arena: Arena, scale: Scale) -> Result:
    """Beside none, beside many real ones, and beside ten thousand that have no socket."""
    where = {"port": arena.port("websocket")}
    tasks = {
        _beside(count): Task("crowd:prepare", {"where": where, "calls": scale.calls, "real": count, "objects": 0})
        for count in scale.crowds
        if count * DESCRIPTORS_EACH < _descriptors()
    }
    tasks[f"beside {OBJECTS:,} objects".replace(",", " ")] = Task(
        "crowd:prepare", {"where": where, "calls": scale.calls, "real": 0, "objects": OBJECTS}
    )
    return result_of("A call beside idle connections", COLUMNS, take_turns(tasks, scale.rounds))


def prepare(where: dict[str, Any], calls: int, real: int, objects: int) -> Turn:
    """Connect them all, and warm one up."""
    _descriptors()
    crowd = [open_connection(Address(**where)) for _ in range(real)] + [_without_socket() for _ in range(objects)]
    busy = open_connection(Address(**where))
    time_calls(busy.call, WARM_UP)
    return partial(_turn, busy, calls, crowd)


def _turn(busy: Connection, calls: int, crowd: list[Connection]) -> dict[str, float]:
    return time_calls(busy.call, calls)


def _without_socket() -> Connection:
    """A connection that leads nowhere."""
    nowhere = cast(Any, SimpleNamespace(links=1))
    return Connection(
        nowhere, lambda lane, work: False, nullcontext, lambda deadline: True, name="nowhere", limits=Limits()
    )


def _beside(count: int) -> str:
    return f"beside {count:,} connections".replace(",", " ") if count else ALONE


def _descriptors() -> int:
    """How many descriptors this process may have, once it asked for all it can get."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
