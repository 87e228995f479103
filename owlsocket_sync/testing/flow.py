"""One direction of a proxied connection: which bytes pass when, by arithmetic over bytes and a clock alone.

Nothing here knows of sockets or threads. What is random comes from the seed, the number of the connection and the
direction, and is counted in bytes of the stream, so that it does not depend on how the bytes happened to arrive.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from random import Random

CAPACITY = 256 * 1024
LONGEST_PIECE = 64
BURST_SECONDS = 0.1
STEP_SECONDS = 0.02
ROUNDING = 1e-6

NOTHING = memoryview(b"")


class Direction(str, Enum):
    """Which way bytes go."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class End(Enum):
    """How a stream, or a whole connection, ends."""

    FIN = "fin"
    RESET = "reset"


@dataclass(frozen=True)
class Faults:
    """What befalls the bytes of one direction."""

    delay: float = 0.0
    jitter: float = 0.0
    delay_seed: int = 0
    rate: float | None = None
    split_seed: int | None = None
    corrupt_seed: int | None = None
    corrupt_every: int = 1000
    cut_after: int | None = None
    reset_after: int | None = None
    blackhole: bool = False


class Splitter:
    """Cuts a stream at places that the seed has chosen."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._left = 0

    def take(self, available: int) -> int:
        """The size of the next piece: up to the next cut, or all there is before it."""
        self._left = self._left or self._random.randint(1, LONGEST_PIECE)
        size = min(self._left, available)
        self._left -= size
        return size


class Corrupter:
    """Changes bytes at places that the seed has chosen, one in ``every`` on average."""

    def __init__(self, random: Random, every: int) -> None:
        self._random = random
        self._every = every
        self._gap = self._next_gap()

    def _next_gap(self) -> int:
        return self._random.randrange(2 * self._every - 1)

    def change(self, data: memoryview) -> memoryview:
        """The same bytes, but for those whose turn it is."""
        if self._gap >= len(data):
            self._gap -= len(data)
            return data
        changed = bytearray(data)
        at = self._gap
        while at < len(changed):
            changed[at] ^= self._random.randint(1, 255)
            at += 1 + self._next_gap()
        self._gap = at - len(changed)
        return memoryview(changed)


class Bucket:
    """Fills at a rate, up to what a tenth of a second brings; bytes that pass empty it."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate * BURST_SECONDS)
        self._level = 0.0
        self._seen = now

    def allowance(self, wanted: int, now: float) -> int:
        """How many of so many bytes may pass now; none until it is worth a send."""
        self._level = min(self._most, self._level + (now - self._seen) * self._rate)
        self._seen = now
        whole = int(self._level + ROUNDING)
        return min(wanted, whole) if whole >= self._worth(wanted) else 0

    def spend(self, count: int) -> None:
        """So many bytes have passed."""
        self._level -= count

    def ready_at(self, wanted: int) -> float:
        """When some of so many bytes may pass."""
        return self._seen + max(0.0, self._worth(wanted) - self._level) / self._rate

    def _worth(self, wanted: int) -> int:
        return min(wanted, max(1, int(self._rate * STEP_SECONDS)))


@dataclass
class _Held:
    """What came in one read, or an end; and when, and how much of the jitter it drew."""

    came: float
    share: float
    data: memoryview
    end: End | None = None


class Flow:
    """The bytes of one direction of one connection, between their arrival and their departure.

    Args:
        faults: what befalls them.
        number: of the connection, from 1 in the order of acceptance.
        direction: which way they go.
        now: the time, on the clock of every other ``now``.
    """

    def __init__(self, faults: Faults, number: int, direction: Direction, now: float) -> None:
        self.faults = Faults()
        self.passed = 0
        self.done = False
        self._origin = f"{number}/{direction.value}"
        self._waiting: deque[_Held] = deque()
        self._piece = NOTHING
        self._held = 0
        self._void = False
        self._jitter: Random | None = None
        self._splitter: Splitter | None = None
        self._corrupter: Corrupter | None = None
        self._bucket: Bucket | None = None
        self.change(faults, now)

    def change(self, faults: Faults, now: float) -> None:
        """Let other faults befall the bytes from now on, those that are held included."""
        old, self.faults = self.faults, faults
        if (faults.jitter, faults.delay_seed) != (old.jitter, old.delay_seed):
            self._jitter = self._random("jitter", faults.delay_seed) if faults.jitter else None
        if faults.split_seed != old.split_seed:
            seed = faults.split_seed
            self._splitter = None if seed is None else Splitter(self._random("split", seed))
        if (faults.corrupt_seed, faults.corrupt_every) != (old.corrupt_seed, old.corrupt_every):
            seed, every = faults.corrupt_seed, faults.corrupt_every
            self._corrupter = None if seed is None else Corrupter(self._random("corrupt", seed), every)
        if faults.rate != old.rate:
            self._bucket = None if faults.rate is None else Bucket(faults.rate, now)

    def _random(self, purpose: str, seed: int) -> Random:
        return Random(f"{seed}/{self._origin}/{purpose}")  # of text: the same in every process and version

    def room(self) -> int:
        """How many bytes may be read now."""
        return 0 if self.faults.blackhole else CAPACITY - self._held

    def arrive(self, data: bytes, now: float) -> None:
        """Take bytes in."""
        if not self._void:
            self._waiting.append(_Held(now, self._share(), memoryview(data)))
            self._held += len(data)

    def end(self, how: End, now: float) -> None:
        """Nothing comes any more; the end is passed on behind what came before it."""
        self._waiting.append(_Held(now, self._share(), NOTHING, how))

    def _share(self) -> float:
        return 0.0 if self._jitter is None else self._jitter.random()

    def void(self) -> None:
        """Nobody is there to take bytes any more: forget them, and those to come; ends are still passed on."""
        self._void = True
        self._piece = NOTHING
        self._held = 0
        self._waiting = deque(held for held in self._waiting if held.end is not None)

    def piece(self, now: float) -> memoryview:
        """What may leave now, in one send; empty while nothing is due."""
        if self.faults.blackhole:
            return NOTHING
        if not self._piece:
            self._form(now)
        return self._piece[: self._allowance(now)]

    def _form(self, now: float) -> None:
        if not self._waiting or self._waiting[0].end is not None or self._due(self._waiting[0]) > now:
            return
        head = self._waiting[0]
        size = self._splitter.take(len(head.data)) if self._splitter else len(head.data)
        piece, head.data = head.data[:size], head.data[size:]
        self._piece = self._corrupter.change(piece) if self._corrupter else piece
        if not head.data:
            self._waiting.popleft()

    def _due(self, held: _Held) -> float:
        return held.came + self.faults.delay + held.share * self.faults.jitter

    def _allowance(self, now: float) -> int:
        size = int(min(len(self._piece), max(0, self._most() - self.passed)))
        return self._bucket.allowance(size, now) if self._bucket and size else size

    def _most(self) -> float:
        cut, reset = self.faults.cut_after, self.faults.reset_after
        return min(math.inf if cut is None else cut, math.inf if reset is None else reset)

    def sent(self, count: int) -> None:
        """So many bytes of the `piece` have left."""
        self.passed += count
        self._held -= count
        self._piece = self._piece[count:]
        if self._bucket:
            self._bucket.spend(count)

    def verdict(self) -> End | None:
        """How the whole connection must end since enough bytes have passed; ``None`` while it may go on."""
        if self.passed < self._most():
            return None
        reset = self.faults.reset_after
        return End.RESET if reset is not None and self.passed >= reset else End.FIN

    def take_end(self, now: float) -> End | None:
        """The end, once it is due and all before it has left; each is given once."""
        if self.faults.blackhole or self._piece or not self._waiting:
            return None
        head = self._waiting[0]
        if head.end is None or self._due(head) > now:
            return None
        self._waiting.popleft()
        self.done = True
        return head.end

    def wakes_at(self, now: float) -> float:
        """When to look again though nothing came; ``math.inf`` for not until then."""
        if self.faults.blackhole:
            return math.inf
        if self._piece:
            return self._bucket.ready_at(len(self._piece)) if self._bucket else now
        return self._due(self._waiting[0]) if self._waiting else math.inf
