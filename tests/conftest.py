"""What holds for every test: nothing that it started is left when it ends; and what it saw is kept."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from owlsocket_sync.runtime import monitor, poller
from support import helpers
from support.figures import Figure, Ledger
from support.helpers import scaled
from support.scheduling import GroupFiles, TimingLast, is_timing, rotated, workers_for

LEDGER = Ledger()
GROUPS = pytest.StashKey[GroupFiles]()
FDS = "/proc/self/fd"


def pytest_configure(config: pytest.Config) -> None:
    """Run stress tests whole where they were asked for by name; load our plugin only now that coverage watches."""
    config.pluginmanager.import_plugin("owlsocket_sync.testing.plugin")
    # They would be left of each test for so long; `tests/runtime/test_poller.py` and `test_inline.py` have them wait.
    poller.IDLE_SECONDS = monitor.IDLE_SECONDS = 0.0
    helpers.WHOLE = config.option.markexpr == "stress"
    settings.register_profile("no-deadline", deadline=None)  # a slow machine is not a failure
    settings.load_profile("no-deadline")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in the background with SIGINT ignored, and each child would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Hundreds of tests start a Python of their own, each of which would compile the whole package.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # Each gunicorn listens on a control socket there: those of other processes would be in its way.
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    os.environ["XDG_RUNTIME_DIR"] = folder.name
    if hasattr(config, "workerinput"):
        config.args = rotated(config.args, config.workerinput["workerid"], config.workerinput["workercount"])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Distribute whole folders; run files and single tests in this process."""
    return workers_for(config.args, config.option.markexpr)


def _group_files(config: pytest.Config) -> GroupFiles:
    """Return where the workers of this run write their groups."""
    if GROUPS not in config.stash:
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        config.stash[GROUPS] = GroupFiles(Path(folder.name))
    return config.stash[GROUPS]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker process where its groups are looked for."""
    node.workerinput["groups"] = str(_group_files(node.config).folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TimingLast | None:
    """Run the tests that measure the clock alone, after the others; ``--dist`` still has a say."""
    return TimingLast(config, log, _group_files(config)) if config.option.dist == "load" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests that measure the clock last, also in one process."""
    sent = getattr(config, "workerinput", None)
    if sent is not None:
        items.sort(key=lambda item: item.path)
    items.sort(key=is_timing)
    if sent is not None:
        GroupFiles(Path(sent["groups"])).write(sent["workerid"], items)


def pytest_collection_finish() -> None:
    """Take the tests themselves out of later garbage collections, each of which would walk through all of them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the figures of a worker process."""
    LEDGER.add(getattr(node, "workeroutput", {}).get("figures", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep the figures of this run where it is asked for."""
    path = os.environ.get("OWLSOCKET_FIGURES")
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = LEDGER.entries
    elif path:
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
def logging_is_restored() -> Iterator[None]:
    """A command that ran in this process has set the logging of the package up for itself."""
    logger = logging.getLogger("owlsocket_sync")
    level, handlers, propagate = logger.level, logger.handlers[:], logger.propagate
    yield
    logger.setLevel(level)
    logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Threads and descriptors are back to what they were."""
    threads, before = set(threading.enumerate()), descriptors()
    polled = next(filter(_is_poller, threads), None)
    yield
    end = time.monotonic() + scaled(5.0)
    tick = threading.Event()
    for attempt in itertools.count():
        left = [thread for thread in threading.enumerate() if thread not in threads]
        if polled is not None and not polled.is_alive() and [_is_poller(thread) for thread in left] == [True]:
            left = []  # it has taken the turn of the one that was there
        opened = {number: target for number, target in descriptors().items() if number not in before}
        if not left and not opened:
            return
        if time.monotonic() > end:
            break
        if attempt > 2:  # most threads are about to end, and a collection is expensive
            gc.collect()
        tick.wait(0.02)
    pytest.fail(f"left behind: {_describe(left)} descriptors {opened}")


def _is_poller(thread: threading.Thread) -> bool:
    return thread.name == "owlsocket-poller"


def _describe(threads: list[threading.Thread]) -> str:
    frames = sys._current_frames()
    lines = []
    for thread in threads:
        frame = frames.get(thread.ident or 0)
        lines.append(f"\n{thread.name}:\n{''.join(traceback.format_stack(frame)[-6:]) if frame else 'gone'}")
    return "".join(lines)
