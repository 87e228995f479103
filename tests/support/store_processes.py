"""What processes that use a store have to hold, whichever store it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from owlsocket_sync.stores import Queue
from support.child_processes import Child
from support.figures import Figure
from support.helpers import eventually, scaled

POISON = """
for _ in range(6):
    child = os.fork()
    if child == 0:
        for delivery in queue.messages(max_attempts=3, timeout=0):
            print(delivery.payload, delivery.attempts, flush=True)
            if delivery.payload == "poison":
                os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def check_poison(queue: Queue, start: Callable[[str], Child], figure: Figure) -> None:
    """A message that kills its worker becomes a dead letter after three deliveries, and the one behind it goes on.

    Args:
        queue: an empty queue.
        start: starts a process with this source, in which ``queue`` is the same queue.
        figure: of the test.
    """
    queue.put_many(["poison", "fine"])
    with start(POISON) as child:
        assert [child.line() for _ in range(3)] == ["poison 1", "poison 2", "poison 3"]
        killed = time.monotonic()
        assert child.line() == "fine 1"
        figure("the next one after the death of the last worker", time.monotonic() - killed, scaled(1.0), "s")
        child.finish()
    (letter,) = queue.dead_letters()
    assert (letter.payload, letter.attempts) == ("poison", 3)
    assert queue.stats.depth == queue.stats.in_flight == 0


HOLD = "d = queue.get(timeout=20); print('has it', flush=True); time.sleep(600)"


def check_ghost(queue: Queue, start: Callable[[str], Child], figure: Figure) -> None:
    """What a killed worker had is not in flight any more within a second, though nobody asks for it; purge deletes it.

    Args:
        queue: an empty queue.
        start: starts a process with this source, in which ``queue`` is the same queue.
        figure: of the test.
    """
    queue.put("ghost")
    with start(HOLD) as child:
        assert child.line() == "has it"
        assert (len(queue), queue.stats.in_flight, queue.purge()) == (0, 1, 0)
        child.send(9)
        killed = time.monotonic()
        eventually(lambda: queue.stats.in_flight == 0)
        figure("not in flight any more after the death of its worker", time.monotonic() - killed, scaled(1.0), "s")
        assert (len(queue), [message.remaining for message in queue.peek()]) == (1, [0])
    with start(HOLD) as child:
        assert child.line() == "has it"
        child.send(9)
        child.finish()
    assert queue.purge() == 1
    assert queue.get() is None
    assert (len(queue), queue.stats.in_flight, queue.stats.bytes) == (0, 0, 0)
