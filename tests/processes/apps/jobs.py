"""Jobs for pools of processes, each of which calls on the connection of the process it runs in.

``python jobs.py METHOD POOL``: start processes by this method (``fork``, ``spawn``, ``forkserver``), in this pool.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from owlsocket_sync import connect

JOBS = 40

connection = connect(os.environ["OWLSOCKET_URL"], timeout=20)


def job(number: int) -> int:
    """Twice the number, says the server."""
    answer: int = connection.call("double", os.getpid(), number, timeout=20)
    return answer


def one_by_one(method: str) -> Iterable[int]:
    """In processes that are started one by one, each of which ends when it is done."""
    context = multiprocessing.get_context(method)
    for number in range(4):
        answers = context.SimpleQueue()
        process = context.Process(target=_put, args=(answers, number))  # type: ignore[attr-defined]
        process.start()
        yield answers.get()
        process.join()
        assert process.exitcode == 0, process.exitcode


def _put(answers: multiprocessing.SimpleQueue[int], number: int) -> None:
    answers.put(job(number))


def in_pool(method: str) -> Iterable[int]:
    """In a pool of ``multiprocessing``."""
    with multiprocessing.get_context(method).Pool(3) as pool:
        yield from pool.map(job, range(JOBS), chunksize=1)


def in_executor(method: str) -> Iterable[int]:
    """In a pool of ``concurrent.futures``."""
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context(method)) as pool:
        yield from pool.map(job, range(JOBS))


if __name__ == "__main__":
    assert job(0) == 0
    ways = {"processes": one_by_one, "pool": in_pool, "executor": in_executor}
    answers = list(ways[sys.argv[2]](sys.argv[1]))
    assert answers == [2 * number for number in range(len(answers))], answers
    assert job(1) == 2
    assert connection.stats.reconnects == 0
    print(len(answers))
