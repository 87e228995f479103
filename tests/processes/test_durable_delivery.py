"""Messages that survive kill -9 of both processes, at random: the whole of acknowledged delivery, end to end."""

from __future__ import annotations

import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from owlsocket_sync import StoreError, connect
from owlsocket_sync.server import serve
from owlsocket_sync.stores import SqliteStore
from support.child_processes import APPS, Child, environment
from support.helpers import eventually, scaled, whole

pytestmark = pytest.mark.slow


def free_port() -> int:
    """A port that nothing listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        port: int = sock.getsockname()[1]
        return port


class Program:
    """A program that is killed, and started again; a context manager, at whose end it is dead."""

    def __init__(self, app: str, *arguments: object) -> None:
        self._command = [sys.executable, str(APPS / f"{app}.py"), *map(str, arguments)]
        self._stack = ExitStack()
        self.complaints = ""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is up."""
        self.child = self._stack.enter_context(Child(self._command, environment()))
        assert self.child.line() == "up", self.child.finish().complaints

    def kill(self) -> None:
        """Kill it, at whatever it is."""
        self.child.send(signal.SIGKILL)
        self.complaints += self.child.finish().complaints

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def read_log(path: Path) -> list[tuple[int, int]]:
    """Number and attempt of each message that was worked on; the last line may be torn by a kill."""
    lines = [line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [(int(line[0]), int(line[1])) for line in lines if len(line) == 2]


@pytest.mark.timeout(1800)
@pytest.mark.stress
def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    """What is worked on twice was delivered and not acknowledged; first deliveries are in order."""
    total, kills = whole((400, 4), (20_000, 200))
    source, port, log = random.Random(1), free_port(), tmp_path / "log"
    pause = threading.Event()
    with (
        Program("durable_receiver", tmp_path / "in.db", port, log) as receiver,
        Program("durable_sender", tmp_path / "out.db", f"ws://127.0.0.1:{port}", total) as sender,
    ):
        for kill in range(kills):
            pause.wait(source.uniform(0.02, 0.25))
            program = receiver if kill % 2 else sender
            program.kill()
            program.start()
        assert sender.child.line() == "done"
        with SqliteStore(tmp_path / "in.db") as store:
            inbox = store.queue("in")
            eventually(lambda: not (len(inbox) or inbox.stats.in_flight), 60)
        receiver.kill()
        sender.kill()
        assert "error" not in receiver.complaints + sender.complaints
    worked = read_log(log)
    times = Counter(number for number, _ in worked)
    assert sorted(times) == list(range(1, total + 1))
    seen: set[int] = set()
    for number, attempt in worked:
        assert number not in seen or attempt > 1, f"{number} was worked on twice, and not told so"
        seen.add(number)
    firsts = list(dict.fromkeys(number for number, _ in worked))
    assert firsts == sorted(firsts)


HOLDER = """
import sys, time
from owlsocket_sync import connect
from owlsocket_sync.stores import SqliteStore
with SqliteStore(sys.argv[1]) as store, connect(sys.argv[2], outbox=store.queue("out")) as connection:
    connection.enqueue("of the first")
    connection.flush(10)
    print("up", flush=True)
    time.sleep(600)
"""


def test_of_two_processes_with_one_outbox_one_sends_and_the_other_takes_over(tmp_path: Path) -> None:
    """Both add to it; the second one sends within a second of the death of the first."""
    inbox_path, outbox_path = tmp_path / "in.db", tmp_path / "out.db"
    with (
        SqliteStore(inbox_path) as receiving,
        SqliteStore(outbox_path) as sending,
        serve(lambda connection, request: None, inbox=receiving.queue("in")) as server,
        Child([sys.executable, "-c", HOLDER, str(outbox_path), server.url], environment()) as holder,
    ):
        assert holder.line() == "up"
        outbox, inbox = sending.queue("out"), receiving.queue("in")
        with connect(server.url, outbox=outbox) as connection:
            connection.enqueue("of the second")
            connection.flush(scaled(10))  # sent by the first
            assert outbox.stored.take_lead() is None  # type: ignore[attr-defined]
            with pytest.raises(StoreError, match="outbox of a connection, in this process or another one"):
                outbox.get()
            holder.send(signal.SIGKILL)
            killed_at = time.monotonic()
            connection.enqueue("later")
            connection.flush(scaled(10))
            assert time.monotonic() - killed_at < scaled(1)
        assert [message.payload for message in inbox.peek()] == ["of the first", "of the second", "later"]


FORKING = """
import os, sys
from owlsocket_sync import connect
from owlsocket_sync.stores import SqliteStore
with SqliteStore(sys.argv[1]) as store, connect(sys.argv[2], outbox=store.queue("out")) as connection:
    connection.enqueue("parent 1")
    connection.flush(20)
    child = os.fork()
    if not child:
        connection.enqueue("child")
        connection.flush(20)  # sent by the parent, which holds the lead
        connection.close()
        os._exit(0)
    connection.enqueue("parent 2")
    assert os.waitpid(child, 0)[1] == 0
    connection.flush(20)
    print("done", flush=True)
"""


def test_a_forked_child_adds_to_the_outbox_of_its_parent(tmp_path: Path) -> None:
    """It sends nothing on the link of its parent, and nothing is sent twice."""
    with (
        SqliteStore(tmp_path / "in.db") as receiving,
        serve(lambda connection, request: None, inbox=receiving.queue("in")) as server,
        Child([sys.executable, "-c", FORKING, str(tmp_path / "out.db"), server.url], environment()) as child,
    ):
        done = child.finish()
        assert (done.code, done.out, done.complaints) == (0, "done\n", "")
        arrived = [message.payload for message in receiving.queue("in").peek()]
        assert arrived[0] == "parent 1"
        assert sorted(arrived) == ["child", "parent 1", "parent 2"]
