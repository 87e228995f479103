"""Row 33: a client that works for ten minutes over a network that fails it every few seconds."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from owlsocket_sync import Connection, SocketError
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy
from support.figures import Figure
from support.helpers import scaled, whole

CLIENT = Path(__file__).parent / "soak_client.py"
RATE = 200


class Peer:
    """The server's side: it keeps what it was told, and has something to say itself."""

    def __init__(self) -> None:
        self.kept: set[int] = set()
        self.over = threading.Event()

    def attend(self, conn: Connection, request: Request) -> None:
        """Answer one link of the client."""
        conn.perform("put", self._put)
        threading.Thread(target=self._tick, args=(conn,)).start()

    def _put(self, number: int) -> list[object]:
        self.kept.add(number)
        return [number, str(number) * 20]

    _number = 0

    def _tick(self, conn: Connection) -> None:
        while not self.over.wait(4 / RATE):
            self._number += 1
            try:
                conn.notify("tick", self._number)
            except SocketError:
                return


def _faults(proxy: FaultProxy) -> dict[str, Callable[[random.Random], object]]:
    return {
        "cut": lambda dice: proxy.cut(),
        "reset": lambda dice: proxy.reset(),
        "black hole": lambda dice: proxy.blackhole(),
        "refusal": lambda dice: (proxy.refuse(), proxy.cut()),
        "delay": lambda dice: proxy.delay(0.02, jitter=0.05, seed=dice.randrange(1000)),
        "pieces": lambda dice: proxy.split(dice.randrange(1000)),
        "narrow": lambda dice: proxy.throttle(60_000),
    }


def _harm(proxy: FaultProxy, over: threading.Event, pause: tuple[float, float], happened: list[str]) -> None:
    """One fault after another, each for a second or two, until it is over."""
    dice = random.Random(33)
    faults = _faults(proxy)
    while not over.wait(dice.uniform(*pause)):
        name = dice.choice(list(faults))
        happened.append(name)
        faults[name](dice)
        over.wait(dice.uniform(0.5, 2.0) * pause[0] / 5)
        proxy.clear()


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(900)
def test_row_33_a_long_day(figure: Figure) -> None:
    """No confirmed call is lost, and threads, descriptors and memory stay what they are."""
    seconds, pause, warm_up = whole((8.0, (0.5, 1.5), 3.0), (600.0, (5.0, 15.0), 60.0))
    peer, over, happened = Peer(), threading.Event(), list[str]()
    with serve(peer.attend, heartbeat=None) as server, FaultProxy("127.0.0.1", server.port) as proxy:
        client = subprocess.Popen(
            [sys.executable, str(CLIENT), proxy.url(), str(seconds), str(RATE)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        harm = threading.Thread(target=_harm, args=(proxy, over, pause, happened))
        harm.start()
        timer = threading.Timer(seconds, over.set)
        timer.start()
        try:
            out, complaints = client.communicate(timeout=seconds + scaled(90))
        finally:
            over.set()
            timer.cancel()
            peer.over.set()
            harm.join()
    assert client.returncode == 0, complaints
    *samples, final = map(json.loads, out.splitlines())
    _keep(samples, happened)
    assert final["confirmed"] > 0.5 * seconds * RATE / 2 * 0.5
    assert final["reconnects"] >= 2
    assert (final["wrong"], final["disordered"], final["pending"]) == (0, 0, 0)
    figure("calls lost, of those that may be sent again", final["called"] - final["confirmed"], 0, "calls")
    figure("confirmed calls that the server never saw", final["confirmed"] - len(peer.kept), 0, "calls")
    _stays_level([sample for sample in samples if sample["at"] > warm_up], figure)


def _stays_level(samples: list[dict[str, float]], figure: Figure) -> None:
    """Between the beginning and the end of what was seen after the warm-up."""
    part = max(1, len(samples) // 10)

    def growth(name: str) -> float:
        first, last = samples[:part], samples[-part:]
        return statistics.median(sample[name] for sample in last) - statistics.median(sample[name] for sample in first)

    figure("threads gained, beside workers", growth("threads"), 0, "threads")
    # Four that run handlers, and one that is about to.
    figure("workers at most", max(sample["workers"] for sample in samples), 5, "threads")
    figure("descriptors gained", growth("descriptors"), whole(3, 0), "descriptors")
    figure("memory gained after warm-up", growth("rss") / 2**20, whole(4.0, 1.0), "MiB")


def _keep(samples: list[dict[str, float]], happened: list[str]) -> None:
    path = os.environ.get("OWLSOCKET_SOAK")
    if path:
        Path(path).write_text(json.dumps({"faults": happened, "samples": samples}) + "\n", encoding="utf-8")
