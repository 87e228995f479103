"""Runs a reader on broken inputs for so many seconds, and tells the input and the seed of what it does wrongly.

What was right stays right: the inputs are the same each time. ``OWLSOCKET_FUZZ_SEED`` brings others, by a text of your
own or by ``random``.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

from hypothesis import HealthCheck, given, seed, settings

from fuzz.accidents import inputs_of
from fuzz.target import Run, Target
from support.helpers import scaled

FIRST_SEED = os.environ.get("OWLSOCKET_FUZZ_SEED", "6455")
SECONDS_FOR_ONE = 2.0
ROUND = 250
LEAST = 50
"""Inputs that run however long they take, so that a loaded machine tries some too."""


class Watched:
    """Runs inputs, counts them, and remembers the last one and the slowest."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.runs = 0
        self.last = b""
        self.slowest = 0.0

    def __call__(self, data: bytes) -> None:
        self.last = data
        self.runs += 1
        began = time.thread_time()
        self._run(data)
        took = time.thread_time() - began
        self.slowest = max(self.slowest, took)
        assert took < scaled(SECONDS_FOR_ONE), f"{len(data)} bytes took {took:.1f} s"


def seeds() -> Iterator[int]:
    """One for each round."""
    dice = random.Random(None if FIRST_SEED == "random" else FIRST_SEED)
    while True:
        yield dice.getrandbits(32)


def drive(target: Target, seconds: float) -> Watched:
    """Run a reader on broken inputs; what it raises goes on, after its seed and input were printed."""
    end = time.monotonic() + seconds
    with target.open() as run:
        watched, numbers = Watched(run), seeds()
        while time.monotonic() < end or watched.runs < LEAST:
            _one_round(target, watched, next(numbers), end)
    return watched


def _one_round(target: Target, watched: Watched, number: int, end: float) -> None:
    @seed(number)
    @settings(max_examples=ROUND, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(inputs_of(target))
    def examples(data: bytes) -> None:
        if time.monotonic() < end or watched.runs < LEAST:
            watched(data)

    try:
        examples()
    except BaseException:
        print(f"{target.name}: seed {number}, input {watched.last!r}")
        raise
