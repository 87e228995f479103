"""One direction of a proxied connection: which bytes pass when, computed from bytes and a clock alone.

Nothing here knows of sockets or threads. Random choices come from the seed, the number of the connection and the
direction, and are counted in bytes of the stream, so they do not depend on how the bytes happened to arrive.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from random import Random

CAPACITY = 256 * 1024
MAX_PIECE = 64
BURST_SECONDS = 0.1
STEP_SECONDS = 0.02
ROUNDING = 1e-6

EMPTY = memoryview(b"")


class Direction(str, Enum):
    """A direction of a connection."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


class End(Enum):
    """The ways in which a stream, or a whole connection, ends."""

    FIN = "fin"
    RESET = "reset"


@dataclass(frozen=True)
class Faults:
    """The faults of one direction; the defaults are none."""

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
    """Cuts a stream at positions that the seed chooses."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._left = 0

    def next_size(self, available: int) -> int:
        """Return the size of the next piece: up to the next cut, or all that is available before it."""
        # The rest of a piece is kept, not drawn again: the cuts stay where they are however the bytes arrive.
        self._left = self._left or self._random.randint(1, MAX_PIECE)
        size = min(self._left, available)
        self._left -= size
        return size


class Corrupter:
    """Changes bytes at positions that the seed chooses, one in ``every`` on average."""

    def __init__(self, random: Random, every: int) -> None:
        self._random = random
        self._every = every
        self._gap = self._next_gap()

    def _next_gap(self) -> int:
        # Gaps from 0 to 2 * (every - 1): on average `every - 1` bytes between two that change.
        return self._random.randrange(2 * self._every - 1)

    def corrupt(self, data: memoryview) -> memoryview:
        """Return the data with the chosen bytes changed."""
        if self._gap >= len(data):
            self._gap -= len(data)
            return data
        changed = bytearray(data)
        at = self._gap
        while at < len(changed):
            changed[at] ^= self._random.randint(1, 255)  # never 0, which would change nothing
            at += 1 + self._next_gap()
        self._gap = at - len(changed)
        return memoryview(changed)


class TokenBucket:
    """A token bucket, in bytes: fills at a rate, up to what a tenth of a second brings."""

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._capacity = max(1.0, rate * BURST_SECONDS)
        self._level = 0.0
        self._updated = now

    def allowance(self, size: int, now: float) -> int:
        """Return how many of ``size`` bytes may pass now; 0 until there are enough for a send."""
        self._level = min(self._capacity, self._level + (now - self._updated) * self._rate)
        self._updated = now
        # A level of 0.9999… after waiting for exactly one byte counts as one, or the loop would wake again for it.
        tokens = int(self._level + ROUNDING)
        return min(size, tokens) if tokens >= self._min_send(size) else 0

    def spend(self, count: int) -> None:
        """Take ``count`` bytes that have passed out of the bucket."""
        self._level -= count

    def ready_at(self, size: int) -> float:
        """Return when some of ``size`` bytes may pass."""
        return self._updated + max(0.0, self._min_send(size) - self._level) / self._rate

    def _min_send(self, size: int) -> int:
        # What 20 ms bring: a byte at a time would cost a system call, and a wakeup of the loop, for each.
        return min(size, max(1, int(self._rate * STEP_SECONDS)))


@dataclass
class _Chunk:
    """The bytes of one read, or an end, with the time of arrival and the share of the jitter that it drew."""

    arrived_at: float
    jitter_share: float
    data: memoryview
    end: End | None = None


class Flow:
    """The bytes of one direction of one connection, between their arrival and their departure.

    Args:
        faults: those of the direction.
        number: of the connection, from 1 in the order of acceptance.
        direction: of the bytes.
        now: the time, on the clock of every other ``now``.

    Attributes:
        faults: those that apply now.
        passed: the number of bytes that have left.
        done: whether an end was passed on.
    """

    def __init__(self, faults: Faults, number: int, direction: Direction, now: float) -> None:
        self.faults = Faults()
        self.passed = 0
        self.done = False
        self._origin = f"{number}/{direction.value}"
        self._chunks: deque[_Chunk] = deque()
        self._piece = EMPTY
        self._held = 0
        self._discarding = False
        self._jitter: Random | None = None
        self._splitter: Splitter | None = None
        self._corrupter: Corrupter | None = None
        self._bucket: TokenBucket | None = None
        self.change(faults, now)

    def change(self, faults: Faults, now: float) -> None:
        """Apply other faults from now on, to the bytes that are held too."""
        # A fault that did not change keeps its state: a rate that is set does not start the cuts again.
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
            self._bucket = None if faults.rate is None else TokenBucket(faults.rate, now)

    def _random(self, purpose: str, seed: int) -> Random:
        return Random(f"{seed}/{self._origin}/{purpose}")  # from text: the same in every process and version

    def room(self) -> int:
        """Return how many bytes may be read now."""
        return 0 if self.faults.blackhole else CAPACITY - self._held

    def feed(self, data: bytes, now: float) -> None:
        """Take in bytes that arrived."""
        # `_held` counts until the bytes have left: what is in the current piece still takes room.
        if not self._discarding:
            self._chunks.append(_Chunk(now, self._draw_jitter(), memoryview(data)))
            self._held += len(data)

    def end(self, how: End, now: float) -> None:
        """Take in the end of the stream, which is passed on after the bytes that arrived before it."""
        # In the same queue as the bytes: an end that overtook them would cut them off.
        self._chunks.append(_Chunk(now, self._draw_jitter(), EMPTY, how))

    def _draw_jitter(self) -> float:
        return 0.0 if self._jitter is None else self._jitter.random()

    # An end is not dropped with the bytes: the connection is over only when both ends were passed on.
    def discard(self) -> None:
        """Drop all bytes, held and future, because the receiver takes no more; ends are still passed on."""
        self._discarding = True
        self._piece = EMPTY
        self._held = 0
        self._chunks = deque(chunk for chunk in self._chunks if chunk.end is not None)

    def piece(self, now: float) -> memoryview:
        """Return the bytes that may leave now, in one send; empty while none are due."""
        if self.faults.blackhole:
            return EMPTY
        if not self._piece:
            self._cut_piece(now)
        return self._piece[: self._allowance(now)]

    def _cut_piece(self, now: float) -> None:
        if not self._chunks or self._chunks[0].end is not None or self._due_at(self._chunks[0]) > now:
            return
        head = self._chunks[0]
        size = self._splitter.next_size(len(head.data)) if self._splitter else len(head.data)
        piece, head.data = head.data[:size], head.data[size:]
        self._piece = self._corrupter.corrupt(piece) if self._corrupter else piece
        if not head.data:
            self._chunks.popleft()

    def _due_at(self, chunk: _Chunk) -> float:
        # Of the faults that apply now, not at arrival: a delay that ends lets go of what it held. A chunk that is due
        # before the one in front of it waits for that: only the front of the queue is ever looked at.
        return chunk.arrived_at + self.faults.delay + chunk.jitter_share * self.faults.jitter

    def _allowance(self, now: float) -> int:
        size = int(min(len(self._piece), max(0, self._byte_limit() - self.passed)))
        return self._bucket.allowance(size, now) if self._bucket and size else size

    def _byte_limit(self) -> float:
        cut, reset = self.faults.cut_after, self.faults.reset_after
        return min(math.inf if cut is None else cut, math.inf if reset is None else reset)

    def sent(self, count: int) -> None:
        """Remove ``count`` bytes of the `piece`, which have left."""
        self.passed += count
        self._held -= count
        self._piece = self._piece[count:]
        if self._bucket:
            self._bucket.spend(count)

    def forced_end(self) -> End | None:
        """Return how the connection must end because its byte limit is reached; ``None`` while it is not."""
        if self.passed < self._byte_limit():
            return None
        # Where both limits are reached at once, the reset wins: it would cut off the FIN anyway.
        reset = self.faults.reset_after
        return End.RESET if reset is not None and self.passed >= reset else End.FIN

    def take_end(self, now: float) -> End | None:
        """Return the end, once, when it is due and every byte before it has left."""
        if self.faults.blackhole or self._piece or not self._chunks:
            return None
        head = self._chunks[0]
        if head.end is None or self._due_at(head) > now:
            return None
        self._chunks.popleft()
        self.done = True
        return head.end

    def next_wakeup(self, now: float) -> float:
        """Return when bytes or an end may leave though nothing new arrives; ``math.inf`` for never."""
        if self.faults.blackhole:
            return math.inf
        if self._piece:
            return self._bucket.ready_at(len(self._piece)) if self._bucket else now
        return self._due_at(self._chunks[0]) if self._chunks else math.inf
