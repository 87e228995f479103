"""The locks of an idle connection: few enough to be listed, and each of them in the table of `docs/threads.md`."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType

import pytest

from owlsocket_sync import Backoff, Connection, connect
from owlsocket_sync.protocol import authentication
from owlsocket_sync.runtime.poller import Poller
from owlsocket_sync.server import Request, serve
from support.helpers import eventually, scaled
from support.linked import aside
from support.strikes import struck

LOCKS = (type(threading.Lock()), type(threading.RLock()))
MAX_LOCKS = 10
"""Of an idle client; those of the poller are there once for the process."""

ROOT = Path(__file__).parents[2]


def locks_of(root: object) -> list[object]:
    """Return every lock that can be reached from an object, but for those of modules, classes and loggers."""
    seen: dict[int, object] = {}
    found: list[object] = []
    stack = [root]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, (ModuleType, type, CodeType, FrameType, Poller)):
            continue
        seen[id(item)] = item  # kept alive, so that no other object gets its id
        if isinstance(item, LOCKS):
            found.append(item)
        elif isinstance(item, FunctionType):
            stack.extend(item.__closure__ or ())
        elif not (isinstance(item, dict) and "__builtins__" in item) and not type(item).__module__.startswith(
            "logging"
        ):
            stack.extend(gc.get_referents(item))
    return found


@pytest.mark.slow
def test_an_idle_connection_has_few_locks() -> None:
    """Once its workers have ended, those of calls, queue and link remain."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)

    with serve(handler) as server, connect(server.url) as conn:
        assert conn.call("echo", 1) == 1
        eventually(lambda: len(locks_of(conn)) <= MAX_LOCKS)
        assert len(locks_of(conn)) > MAX_LOCKS / 2, "the walk reaches them"


def test_the_locks_of_threads_are_in_the_table() -> None:
    """Each lock that `runtime` and `transport` make has a row, under the name that it has there."""
    table = (ROOT / "docs" / "threads.md").read_text(encoding="utf-8")
    made = {
        line.partition("=")[0].partition(":")[0].strip().removeprefix("self.")
        for folder in ("runtime", "transport")
        for path in (ROOT / "owlsocket_sync" / folder).glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "= Condition(" in line or "= make_lock(" in line or ("= threading." in line and "Lock(" in line)
    }
    assert {"_write_lock", "read_lock", "_state_changed"} <= made
    assert {name for name in made if f"`{name}`" not in table and name != "lock"} == set()


def _take_events(conn: Connection) -> None:
    with conn.events("told", timeout=scaled(5)) as events:
        conn.notify("tell")
        assert next(events).event == "told"


VERBS: dict[str, Callable[[Connection], object]] = {
    "auth": lambda conn: conn.auth("authenticate", timeout=scaled(5)),
    "call": lambda conn: conn.call("echo", 1, timeout=scaled(5)),
    "close": lambda conn: conn.close(timeout=scaled(0.5)),
    "consume": lambda conn: conn.consume(timeout=0.01),
    "events": _take_events,
    "ping": lambda conn: conn.ping(scaled(5)),
    "reconnect": lambda conn: conn.reconnect(),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_an_interrupt_anywhere_leaves_every_lock_free(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads use the connection as before, whichever instruction of the main thread it was that raised."""
    # Where the interrupted exchange had not been sent, the next one waits in vain for its answer.
    monkeypatch.setattr(authentication, "STALE_SECONDS", 0.01)

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        conn.observe("tell", lambda message: conn.notify("told"))
        conn.authenticate = lambda stage, payload: (stage, payload)

    def use(conn: Connection) -> None:
        # What an interrupt of a wait leaves unlocked, the standard library reports in its place.
        with contextlib.suppress(RuntimeError):
            VERBS[verb](conn)

    def use_elsewhere() -> None:
        if verb != "close":
            assert conn.call("echo", 2, timeout=scaled(5)) == 2
        VERBS[verb](conn)

    def is_struck(at: int) -> bool:
        interrupted = struck(at, lambda: use(conn))
        outcome = aside(use_elsewhere)
        assert outcome.wait(1, 15) == [None], (verb, at)
        return interrupted

    backoff, at = Backoff(initial=0.01, cap=0.01, jitter="none"), 0
    with serve(handler) as server:
        conn = connect(server.url, reconnect=backoff)
        while is_struck(at):
            at += 1
            if verb == "close":
                conn = connect(server.url, reconnect=backoff)
        conn.close()
    assert at > 20
