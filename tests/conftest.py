"""What holds for every test: nothing that it started is left when it ends; and what it saw is kept."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import helpers
import pytest
from figures import Figure, Ledger
from helpers import scaled

LEDGER = Ledger()
FDS = "/proc/self/fd"


def pytest_configure(config: pytest.Config) -> None:
    """Run stress tests whole where they were asked for by name; load our plugin only now that coverage watches."""
    config.pluginmanager.import_plugin("owlsocket_sync.testing.plugin")
    helpers.WHOLE = config.option.markexpr == "stress"


def pytest_sessionfinish() -> None:
    """Keep the figures of this run where it is asked for."""
    path = os.environ.get("OWLSOCKET_FIGURES")
    if path:
        LEDGER.write(Path(path))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Notes a figure of this test, and asserts its limit."""
    return LEDGER.holder(request.node.nodeid)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def descriptors() -> dict[str, str]:
    """The open descriptors of this process, and what they lead to."""
    found = {}
    for number in os.listdir(FDS) if os.path.isdir(FDS) else ():
        try:
            found[number] = os.readlink(f"{FDS}/{number}")
        except OSError:
            continue  # the one that listed the folder
    return {number: target for number, target in found.items() if not target.startswith("/")}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Threads and descriptors are back to what they were."""
    threads, before = set(threading.enumerate()), descriptors()
    yield
    end = time.monotonic() + scaled(5.0)
    tick = threading.Event()
    while True:
        left = [thread for thread in threading.enumerate() if thread not in threads]
        opened = {number: target for number, target in descriptors().items() if number not in before}
        if not left and not opened:
            return
        if time.monotonic() > end:
            break
        gc.collect()
        tick.wait(0.02)
    pytest.fail(f"left behind: {_describe(left)} descriptors {opened}")


def _describe(threads: list[threading.Thread]) -> str:
    frames = sys._current_frames()
    lines = []
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        lines.append(f"\n{thread.name}:\n{''.join(traceback.format_stack(frame)[-6:]) if frame else 'gone'}")
    return "".join(lines)
