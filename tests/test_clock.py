"""Frozen clocks: a test that stops or moves the time of its application stops no timeout and ends no link."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from freezegun import freeze_time

from owlsocket_sync.auth import MemoryReplayStore
from owlsocket_sync.clock import wall_time
from owlsocket_sync.server import serve
from support.child_processes import echo, script
from support.helpers import scaled

PACKAGE = Path(__file__).parent.parent / "owlsocket_sync"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "clock.py")
REPLACED = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}

FREEZE = "from freezegun import freeze_time\nfrozen = freeze_time('2020-01-01')\nclock = frozen.start()\n"
IDLE_LINK = """
from owlsocket_sync.server import serve
conn = connect(url, timeout=20, heartbeat=Heartbeat(0.2, 20.0))
for _ in range(2):
    assert conn.call('echo', 1, timeout=20) == 1
    threading.Event().wait(0.5)
    assert conn.stats.reconnects == 0
    clock.move_to('2030-01-01')
try:
    conn.call('slow', timeout=0.1)
except owlsocket_sync.SocketTimeout:
    print('timed out')
with serve(lambda conn, request: conn.perform('echo', lambda value: value)) as server:
    with connect(server.url, timeout=20) as other:
        print(other.call('echo', 'served', timeout=20))
conn.close()
"""


def uses_of_time(path: Path) -> Iterator[str]:
    """Yield each clock of the standard library that a module looks up by itself, with its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in REPLACED:
            if isinstance(node.value, ast.Name) and node.value.id == "time":
                yield f"{node.lineno}: time.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"{node.lineno}: {alias.name}" for alias in node.names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"), [(FREEZE, ""), ("", FREEZE)], ids=["frozen before the import", "frozen after the import"]
)
def test_a_frozen_clock_ends_no_link(first: str, then: str) -> None:
    """Connecting, an idle link with its heartbeat, a jump of ten years, a timeout and a server: all go on."""
    with serve(echo) as server, script(then + IDLE_LINK, server.url, first=first) as child:
        done = child.finish()
    assert (done.code, done.out.splitlines(), done.complaints) == (0, ["timed out", "served"], "")


@pytest.mark.slow
def test_the_fixtures_work_while_the_clock_is_frozen(pytester: pytest.Pytester) -> None:
    """A test may freeze the clock before it asks for a connection."""
    pytester.makepyfile(
        """
        import threading

        import pytest
        from freezegun import freeze_time


        @pytest.fixture(autouse=True)
        def frozen():
            with freeze_time("2020-01-01"):
                yield


        def test_a_call(frozen, owlsocket_connection, fault_proxy):
            fault_proxy.delay(0.01)
            assert owlsocket_connection.call("echo", 1, timeout=20) == 1
        """
    )
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", timeout=scaled(60))
    result.assert_outcomes(passed=1)


def test_no_timeout_depends_on_a_clock_that_can_be_replaced() -> None:
    """The clocks of timeouts come from one module, which binds them once."""
    assert not [f"{path.relative_to(PACKAGE)}:{use}" for path in SOURCES for use in uses_of_time(path)]


def test_dates_of_tokens_follow_a_frozen_clock() -> None:
    """A test of an application moves the clock to the end of a token, and sees it expire."""
    store, noon = MemoryReplayStore(), datetime(2020, 1, 1, 12, tzinfo=timezone.utc).timestamp()
    with freeze_time("2020-01-01 12:00:00") as clock:
        assert wall_time() == noon
        assert store.use_once("token", noon + 60)
        assert not store.use_once("token", noon + 60)
        clock.tick(61)
        assert wall_time() == noon + 61
        assert store.use_once("token", noon + 120)
