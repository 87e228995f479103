"""A server under load: the CPU of an echo call, idle clients, connects per second, and clients up to a limit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ..affinity import AFFINITY
from ..child import Figures, Turn
from ..clients import ASYNCIO, NODE, OURS, PICOWS, WEBSOCKETS
from ..echo_servers import EchoServers
from ..load import Load
from ..measured_server import MeasuredServer
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from .crowd import raise_descriptors

NAMES = {OURS: "ours", WEBSOCKETS: "websockets", ASYNCIO: "asyncio", PICOWS: "picows", NODE: "node"}
SLEEP = 0.005
SLEEPING = 16
REST = 1.0
CONNECTS = 3
FEW_DESCRIPTORS = 1024
CROWD = 950
IDLE_COLUMNS = {
    "held": "private memory, KiB",
    "descriptors": "descriptors",
    "threads": "threads",
    "rate": "connects/s",
    "connect": "CPU per connect, µs",
}


def measure_calls(servers: EchoServers, scale: Scale) -> Result:
    """Measure echo calls of each number of clients, with handlers that return at once."""
    columns: dict[str, str] = {}
    for count in scale.callers:
        columns[f"cpu_{count}"] = f"CPU per call, µs, {count} client{'s' if count > 1 else ''}"
        columns[f"rate_{count}"] = "calls/s"
    columns["threads"] = "threads, at most"
    options = {"counts": scale.callers, "seconds": scale.callers_seconds}
    return _measure(NAMES, "server:prepare_calls", scale.rounds, "A server that echoes", columns, **options)


def measure_sleeping(servers: EchoServers, scale: Scale) -> Result:
    """Measure echo calls whose handlers sleep, on servers that have threads for them."""
    columns = {f"rate_{SLEEPING}": "calls/s", f"cpu_{SLEEPING}": "CPU per call, µs", "threads": "threads, at most"}
    options = {"counts": (SLEEPING,), "seconds": scale.callers_seconds, "sleep": SLEEP}
    title = f"A server whose handlers sleep {SLEEP * 1e3:g} ms, {SLEEPING} clients"
    return _measure((OURS, WEBSOCKETS), "server:prepare_calls", scale.rounds, title, columns, **options)


def measure_idle(servers: EchoServers, scale: Scale) -> Result:
    """Measure what an idle client takes, and how fast clients connect."""
    title = f"An idle client of a server (of {scale.connections})"
    options = {"clients": scale.connections}
    return _measure(NAMES, "server:prepare_idle", min(scale.rounds, CONNECTS), title, IDLE_COLUMNS, **options)


def measure_limit(servers: EchoServers, scale: Scale) -> Result:
    """Count the clients that a server takes with few descriptors."""
    title = f"{CROWD} clients of a server with {FEW_DESCRIPTORS} descriptors (`ulimit -n {FEW_DESCRIPTORS}`)"
    columns = {"taken": "clients accepted", "served": "clients whose call is answered"}
    return _measure((OURS, WEBSOCKETS, ASYNCIO), "server:prepare_limit", 1, title, columns)


def _measure(
    names: Iterable[str], function: str, rounds: int, title: str, columns: dict[str, str], **options: object
) -> Result:
    cores = AFFINITY.server_cores()
    tasks = {name: Task(function, {"name": NAMES[name], "cores": cores, **options}) for name in names}
    return result_of(title, columns, run_rounds(tasks, rounds))


def prepare_calls(
    name: str, cores: Sequence[int] | None, counts: Sequence[int], seconds: float, sleep: float = 0.0
) -> Turn:
    """Start the server, and connect the clients of each number."""
    server = MeasuredServer(name, cores, seconds=sleep)
    loads = []
    for count in counts:
        loads.append(Load(server.port))
        loads[-1].connect(count)
        loads[-1].call_for(seconds / 4)

    def turn() -> Figures:
        figures: Figures = {"threads": server.threads}
        for count, load in zip(counts, loads, strict=True):
            began = server.cpu
            calls = load.call_for(seconds)
            figures[f"cpu_{count}"] = (server.cpu - began) / calls.answered * 1e6
            figures[f"rate_{count}"] = calls.answered / calls.seconds
            figures["threads"] = max(figures["threads"], server.threads)
        return figures

    return turn


def prepare_idle(name: str, cores: Sequence[int] | None, clients: int) -> Turn:
    """Each turn starts a server of its own, so that it finds no memory that earlier clients have left."""
    raise_descriptors()
    MeasuredServer(name, cores).close()  # to see that it is installed
    return lambda: _turn_idle(name, cores, clients)


def _turn_idle(name: str, cores: Sequence[int] | None, clients: int) -> Figures:
    server = MeasuredServer(name, cores)
    load = Load(server.port)
    try:
        load.connect(4)  # what is loaded with the first clients is shared
        load.call_for(0.05)
        before = server.memory, server.descriptors, server.threads
        began = server.cpu
        seconds = load.connect(clients)
        cpu = server.cpu - began
        time.sleep(REST)  # until idle threads have ended
        after = server.memory, server.descriptors, server.threads
    finally:
        load.close()
        server.close()
    held, descriptors, threads = ((now - then) / clients for then, now in zip(before, after, strict=True))
    rates = {"rate": clients / seconds, "connect": cpu / clients * 1e6}
    return {"held": held, "descriptors": descriptors, "threads": threads, **rates}


def prepare_limit(name: str, cores: Sequence[int] | None) -> Turn:
    """Start the server with few descriptors."""
    raise_descriptors()
    server = MeasuredServer(name, cores, descriptors=FEW_DESCRIPTORS)

    def turn() -> Figures:
        load = Load(server.port)
        taken = load.connect_while_accepted(CROWD)
        served = load.call_for(0.0).answered if taken else 0
        return {"taken": taken, "served": served}

    return turn
