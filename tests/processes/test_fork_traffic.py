"""Forks in the middle of traffic: the parent's goes on as if nothing was, the child's is its own."""

from __future__ import annotations

import pytest

from owlsocket_sync.server import serve
from support.child_processes import Attendance, run
from support.figures import Figure
from support.helpers import whole

pytestmark = pytest.mark.slow

TRAFFIC = """
import faulthandler
conn = connect(url, timeout=20)
over, wrong = threading.Event(), []

def talk(thread):
    number = 0
    while not over.is_set():
        number += 1
        try:
            if conn.call('double', os.getpid(), number, timeout=20) != 2 * number:
                wrong.append((thread, number))
        except Exception as error:
            wrong.append((thread, number, repr(error)))

threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
slowest = 0.0
for fork in range(int(sys.argv[2])):
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        right = [conn.call('double', os.getpid(), n, timeout=15) for n in range(5)] == [0, 2, 4, 6, 8]
        right = right and conn.stats.pending == 0 and conn.state is ConnectionState.OPEN
        conn.close()
        os._exit(0 if right else 1)
    status = os.waitpid(child, 0)[1]
    slowest = max(slowest, time.monotonic() - began)
    if status:
        wrong.append((fork, os.waitstatus_to_exitcode(status)))
over.set()
for thread in threads:
    thread.join()
print(slowest, len(wrong), wrong[:5], conn.stats.reconnects, conn.stats.unmatched, os.getpid(), sep='|')
conn.close()
"""


@pytest.mark.stress
@pytest.mark.timeout(400)
def test_row_24_forks_during_the_traffic_of_eight_threads(figure: Figure) -> None:
    """No child hangs, each gets its own answers on one connection of its own, and the parent misses nothing."""
    forks = whole(10, 100)
    attendance = Attendance()
    with serve(attendance) as server:
        done = run(TRAFFIC, server.url, str(forks))
    assert (done.code, done.complaints) == (0, "")
    slowest, wrong, which, reconnects, unmatched, parent = done.out.strip().split("|")
    figure("wrong answers and failed children", int(wrong), 0, "")
    assert (which, reconnects, unmatched) == ("[]", "0", "0")
    counts = attendance.counts
    assert set(counts.values()) == {1}, counts
    assert int(parent) in counts
    assert len(counts) == forks + 1
    assert attendance.links == forks + 1
    figure("a fork, five calls and the end of the child", float(slowest), 10.0, "s")


RACE = """
conn = connect(url, timeout=20)
assert conn.call('double', os.getpid(), 1) == 2
sys.setswitchinterval(1e-6)
for fork in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        ready, answers = threading.Barrier(16), []

        def first():
            ready.wait(10)
            answers.append(conn.call('double', os.getpid(), 4, timeout=15))

        threads = [threading.Thread(target=first) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        conn.close()
        os._exit(0 if answers == [8] * 16 else 1)
    status = os.waitpid(child, 0)[1]
    assert status == 0, os.waitstatus_to_exitcode(status)
"""


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_row_24_several_threads_are_the_first_to_use_a_connection_in_a_child() -> None:
    """Sixteen threads that all are the first make one connection, and get their answers."""
    forks = whole(10, 200)
    attendance = Attendance()
    with serve(attendance) as server:
        done = run(RACE, server.url, str(forks))
    assert (done.code, done.complaints) == (0, "")
    assert set(attendance.counts.values()) == {1}
    assert attendance.links == forks + 1


SHARED = """
from owlsocket_sync.context import Context, SocketService
context = Context(SocketService(url, timeout=20))
service = context.service('socket')
assert service.connection.call('double', os.getpid(), 1) == 2
sys.setswitchinterval(1e-6)
over = threading.Event()

def use():
    while not over.is_set():
        with context._services_lock.get(), service._state.get().connection_lock:
            context.phase

holder = threading.Thread(target=use)
holder.start()
for fork in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        ready, answers = threading.Barrier(8), []

        def first():
            ready.wait(10)
            answers.append(service.connection.call('double', os.getpid(), 4, timeout=15))

        threads = [threading.Thread(target=first) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        context.close()
        os._exit(0 if answers == [8] * 8 else 1)
    status = os.waitpid(child, 0)[1]
    if status:
        print(os.waitstatus_to_exitcode(status))
over.set()
holder.join()
"""


@pytest.mark.stress
@pytest.mark.timeout(300)
def test_row_24_a_context_makes_one_connection_in_each_process() -> None:
    """However many threads of a child ask first, and whoever held its locks in the parent."""
    forks = whole(10, 200)
    attendance = Attendance()
    with serve(attendance) as server:
        done = run(SHARED, server.url, str(forks))
    assert (done.code, done.out, done.complaints) == (0, "", "")
    assert set(attendance.counts.values()) == {1}
    assert attendance.links == forks + 1
