"""uWSGI, whose master forks its workers by C code: each has one connection, and gets right answers on it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from owlsocket_sync.server import serve
from support.child_processes import APPS, Attendance, Child, environment
from support.helpers import eventually, scaled, whole
from support.sockets import free_port

WORKERS = 4
UWSGI = shutil.which("uwsgi", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed (pip install pyuwsgi)"),
]


@contextmanager
def uwsgi(options: str, url: str) -> Iterator[tuple[Child, int]]:
    """A uWSGI with four workers, and its port."""
    assert UWSGI is not None
    port = free_port()
    paths = [*filter(None, sys.path), str(APPS)]
    command = (
        f"{UWSGI} --master --processes {WORKERS} --enable-threads --die-on-term --disable-logging {options}".split()
    )
    command += ["--http-socket", f"127.0.0.1:{port}", "--home", sys.prefix]
    for path in paths:
        command += ["--pythonpath", path]
    with Child(command, environment("", OWLSOCKET_URL=url)) as child:
        yield child, port


def ask(port: int, number: int) -> int:
    """Have a number doubled; the process that did it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(30))
    try:
        connection.request("GET", f"/?{number}")
        reply = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert reply["answer"] == 2 * number
    return int(reply["process"])


def answers(port: int) -> bool:
    """Whether it serves already."""
    with suppress(OSError):
        return ask(port, 1) > 0
    return False


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("options", "master_connects"),
    [("--module web:eager()", True), ("--module web:eager() --threads 4", True), ("--module web:lazy()", False)],
    ids=["the app of the master", "threads", "a context"],
)
def test_row_24_uwsgi(options: str, master_connects: bool) -> None:
    """Requests side by side get right answers, and the connection that the master made stays its own."""
    attendance = Attendance()
    with serve(attendance) as server:
        with uwsgi(options, server.url) as (child, port):
            eventually(lambda: answers(port), 60)
            workers: set[int] = set()
            with ThreadPoolExecutor(16) as threads:
                for _ in range(200):
                    workers |= set(threads.map(lambda number: ask(port, number), range(whole(48, 480))))
                    if len(workers) == WORKERS:
                        break
            counts = attendance.counts
            assert workers == set(counts) - {child.pid}
            assert set(counts.values()) == {1}
            assert attendance.links == WORKERS + master_connects
            child.send(signal.SIGTERM)
            done = child.finish()
        assert (done.code, "Traceback" in done.complaints) == (0, False)
        eventually(lambda: not server.connections)
