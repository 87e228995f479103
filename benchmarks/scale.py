"""The scale of a run: whole, or short enough to check that everything runs."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Scale:
    """The numbers and durations of all measures; times are seconds."""

    rounds: int
    calls: int
    in_flight: int
    events: int
    sizes: tuple[int, ...]
    threads: tuple[int, ...]
    threads_seconds: float
    connections: int
    pending: int
    crowds: tuple[int, ...]
    imports: int
    pending_levels: tuple[int, ...]
    observed_levels: tuple[int, ...]
    queue_levels: tuple[int, ...]
    idle_seconds: float
    waits: int
    audience: int
    conversions: int
    callers: tuple[int, ...]
    callers_seconds: float
    connects: int
    wakes: int
    one_way_sizes: tuple[int, ...]
    durable: int
    durable_waits: int
    hub_clients: int


WHOLE = Scale(
    rounds=7,
    calls=3000,
    in_flight=1000,
    events=30_000,
    sizes=(65_536, MIB, 16 * MIB, 64 * MIB),
    threads=(1, 2, 4, 8, 16, 32, 64),
    threads_seconds=0.3,
    connections=200,
    pending=10_000,
    crowds=(0, 500, 2000, 4000),
    imports=15,
    pending_levels=(100, 1000, 10_000, 100_000),
    observed_levels=(10, 100, 1000, 10_000),
    queue_levels=(100, 1000, 10_000, 100_000),
    idle_seconds=30.0,
    waits=40,
    audience=1000,
    conversions=2000,
    callers=(1, 16, 64),
    callers_seconds=0.3,
    connects=100,
    wakes=40,
    one_way_sizes=(MIB, 16 * MIB),
    durable=640,
    durable_waits=100,
    hub_clients=400,
)

SHORT = Scale(
    rounds=1,
    calls=200,
    in_flight=1000,
    events=2000,
    sizes=(65_536, MIB),
    threads=(1, 8, 64),
    threads_seconds=0.1,
    connections=20,
    pending=1000,
    crowds=(0, 100),
    imports=3,
    pending_levels=(100, 10_000),
    observed_levels=(10, 1000),
    queue_levels=(100, 10_000),
    idle_seconds=3.0,
    waits=10,
    audience=50,
    conversions=100,
    callers=(1, 16),
    callers_seconds=0.05,
    connects=5,
    wakes=10,
    one_way_sizes=(MIB,),
    durable=64,
    durable_waits=10,
    hub_clients=20,
)
