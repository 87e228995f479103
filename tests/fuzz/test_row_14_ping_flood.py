"""A server that floods its client with pings: calls go on, and pongs do not pile up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fuzz.flooder import frames_of
from fuzz.memory import Growth
from owlsocket_sync import connect
from support.figures import Figure
from support.helpers import eventually, scaled, whole
from support.sockets import PING, PONG, ByteServer, RawPeer, frame

TESTS = Path(__file__).parents[1]
PINGS_A_SECOND = 50_000
MIB = 1024 * 1024


@contextmanager
def flooding(seconds: float) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A process that floods its client: its port, and itself."""
    command = [sys.executable, "-m", "fuzz.flooder", str(PINGS_A_SECOND), str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=TESTS) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline()), process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timing
@pytest.mark.timeout(120)
def test_row_14_calls_continue_during_a_flood_of_pings(figure: Figure) -> None:
    """Each is answered within a second, and so is the last ping."""
    seconds = whole(1.0, 5.0)
    took: list[float] = []
    with flooding(seconds) as (port, process):
        with connect(f"ws://127.0.0.1:{port}") as conn:
            end = time.monotonic() + seconds
            while (began := time.monotonic()) < end:
                assert conn.call("echo", len(took), timeout=30) == len(took)
                took.append(time.monotonic() - began)
            conn.call("end", 0, timeout=30)
            conn.call("echo", 0, timeout=30)  # by now the last ping was answered
        counts = json.loads(process.communicate(timeout=30)[0])
    figure("p99 of a call", sorted(took)[int(len(took) * 0.99)], 1.0, "s")
    assert counts["pings"] > 0.5 * PINGS_A_SECOND * seconds
    assert 0 < counts["pongs"] <= counts["pings"]
    assert counts["latest"], "the last ping has no pong"


@pytest.mark.slow
def test_row_14_pongs_do_not_accumulate_for_a_peer_that_does_not_read(figure: Figure) -> None:
    """While nothing can be written, one pong waits, the latest; it is sent once there is room."""
    count = 60_000
    payloads = [b"%0125d" % number for number in range(count)]
    sound = threading.Event()
    pongs: list[bytes] = []

    def script(peer: RawPeer) -> None:
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        peer.upgrade()
        for start in range(0, count, 1000):
            peer.send(b"".join(frame(PING, payload) for payload in payloads[start : start + 1000]))
        sound.set()
        pongs.extend(payload for opcode, payload in frames_of(peer.sock) if opcode == PONG)

    with ByteServer(script) as server, Growth() as growth, connect(server.url) as conn:
        assert sound.wait(scaled(60))
        eventually(lambda: pongs[-1:] == payloads[-1:], 30)
        conn.notify("done")
    assert pongs == sorted(pongs)
    assert len(pongs) < count
    figure("growth of the resident memory", growth.bytes / MIB, 64, "MiB")
