"""Workers of one store that are killed with SIGKILL, again and again, while messages pass.

Prints what became of each message, as JSON. Workers are forked: the store is open in their parent.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from typing import IO

from owlsocket_sync import Backoff
from owlsocket_sync.stores import Queue, RedisStore, SqliteStore


def produce(queue: Queue, start: int, note: Callable[[str], None]) -> None:
    """Put numbers, from ``start`` on, and note each one that is safe."""
    while True:
        queue.put(start)
        note(f"put {start}")
        start += 1


def consume(queue: Queue, start: int, note: Callable[[str], None]) -> None:
    """Work on messages: note each one with its attempts, and go on to the next, which acknowledges it."""
    for delivery in queue.messages(retry_delay=Backoff(initial=0), max_attempts=None):
        note(f"work {delivery.payload} {delivery.attempts}")


class Worker:
    """A forked worker, and the pipe into which it writes."""

    def __init__(self, queue: Queue, work: Callable[[Queue, int, Callable[[str], None]], None], start: int) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            try:
                work(queue, start, lambda line: (os.write(writing, f"{line}\n".encode()), None)[1])
            finally:
                os._exit(1)
        os.close(writing)
        self.lines: IO[str] = os.fdopen(reading)

    def kill(self) -> list[str]:
        """Kill it, and return what it noted meanwhile."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        with self.lines:
            return self.lines.read().splitlines()


def main(place: str, kills: int, per_life: int) -> None:
    """Run workers until so many were killed, and then until all messages are done."""
    random.seed(kills)
    with RedisStore(place) if place.startswith("redis://") else SqliteStore(place) as store:
        print(json.dumps(run(store.queue("jobs"), kills, per_life)))


def run(queue: Queue, kills: int, per_life: int) -> dict[str, object]:
    """Return the numbers that are safe, and those that were worked on with their attempts."""
    queue.put(0)
    safe, worked = [0], list[list[int]]()
    roles = {"put": produce, "work": consume}

    def take(line: str) -> None:
        word, *numbers = line.split()
        if word == "put":
            safe.append(int(numbers[0]))
        else:
            worked.append([int(number) for number in numbers])

    workers = {role: Worker(queue, work, 1) for role, work in roles.items()}
    for _ in range(kills):
        role = random.choice(list(roles))
        for _ in range(random.randrange(1, per_life)):
            take(workers[role].lines.readline())
        for line in workers[role].kill():
            take(line)
        # The last number may be stored without a note of it: the next one is passed over.
        workers[role] = Worker(queue, roles[role], safe[-1] + 2)
    for line in workers["put"].kill():
        take(line)
    missing = set(safe) - {number for number, _ in worked}
    while missing:  # for good, where one is lost: the test has a deadline
        take(workers["work"].lines.readline())
        missing.discard(worked[-1][0])
    for line in workers["work"].kill():
        take(line)
    return {"safe": safe, "worked": worked}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
