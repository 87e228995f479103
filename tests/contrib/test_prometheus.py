"""Metrics for Prometheus, in separate registries, for real connections to an embedded server."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from owlsocket_sync import Connection, Operation, Outcome, ResilientError, SocketTimeout, connect
from owlsocket_sync.contrib.prometheus import ConnectionCollector, OwlSocketMetrics
from owlsocket_sync.contrib.summary import summarise
from owlsocket_sync.server import Request, Server, serve
from support.child_processes import environment
from support.handlers import drop_link
from support.helpers import Collector, eventually, scaled


@pytest.fixture(autouse=True)
def _collected() -> None:
    """Connections that other tests have forgotten have series until then."""
    gc.collect()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers, fails, and does not answer."""
    enough = threading.Event()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value=None: value)
        conn.perform("fail", lambda: 1 / 0)
        conn.perform("wait", lambda: enough.wait(scaled(5)))
        conn.perform("drop", lambda: drop_link(conn))
        conn.observe("news", lambda message: conn.notify("heard", message.payload))

    with serve(handler, name="shop") as running:
        yield running
        enough.set()


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """A registry with all metrics."""
    registry = CollectorRegistry()
    with OwlSocketMetrics(registry):
        yield registry
    assert generate_latest(registry) == b""


def test_calls_are_timed_and_counted_by_their_outcome(server: Server, registry: CollectorRegistry) -> None:
    """At both ends; connections of a server share a label."""
    with connect(server.url, name="till") as conn, connect(server.url, name="till#2") as other:
        assert conn.call("echo", 1) == other.call("echo", 1) == 1
        assert conn.submit("echo", 2).result(scaled(5)) == 2
        with pytest.raises(ResilientError):
            conn.call("fail")
        with pytest.raises(SocketTimeout):
            conn.call("wait", timeout=0.01)
    sample = registry.get_sample_value
    eventually(lambda: sample("owlsocket_calls_total", labels("till", "echo", "ok")) == 3)
    assert sample("owlsocket_calls_total", labels("till", "fail", "error")) == 1
    assert sample("owlsocket_calls_total", labels("till", "wait", "timeout")) == 1
    assert sample("owlsocket_call_seconds_count", {"connection": "till", "method": "echo"}) == 3
    assert (sample("owlsocket_call_seconds_sum", {"connection": "till", "method": "wait"}) or 0) > 0
    eventually(lambda: sample("owlsocket_performed_total", labels("shop", "echo", "ok")) == 3)
    eventually(lambda: sample("owlsocket_performed_total", labels("shop", "fail", "error")) == 1)
    assert sample("owlsocket_perform_seconds_count", {"connection": "shop", "method": "echo"}) == 3


def labels(connection: str, method: str, outcome: str) -> dict[str, str]:
    """Return the labels of a counter."""
    return {"connection": connection, "method": method, "outcome": outcome}


def test_events_are_counted_and_their_handlers_timed(server: Server, registry: CollectorRegistry) -> None:
    """In both directions."""
    heard = Collector()
    sample = registry.get_sample_value
    with connect(server.url, name="till") as conn:
        conn.observe("heard", heard)
        conn.notify("news", 1)
        heard.wait(1)
        sent, handled = "owlsocket_events_sent_total", "owlsocket_events_handled_total"
        news = {"event": "news", "outcome": "ok"}
        assert sample(sent, {"connection": "till", **news}) == 1
        eventually(lambda: sample(handled, {"connection": "shop", **news}) == 1)
        eventually(lambda: sample(handled, {"connection": "till", "event": "heard", "outcome": "ok"}) == 1)
        assert sample("owlsocket_event_seconds_count", {"connection": "till", "event": "heard"}) == 1


def test_counters_are_read_at_each_scrape(server: Server, registry: CollectorRegistry) -> None:
    """States, pending calls, messages, bytes and the other counters of ``stats``."""
    sample = registry.get_sample_value
    till = {"connection": "only here"}
    with connect(server.url, name="only here") as conn:
        future = conn.submit("wait")
        conn.ping(scaled(5))
        assert sample("owlsocket_connections", {**till, "state": "open"}) == 1
        assert sample("owlsocket_connections", {**till, "state": "reconnecting"}) == 0
        assert sample("owlsocket_connections", {"connection": "shop", "state": "open"}) == 1
        assert sample("owlsocket_pending_calls", till) == 1
        assert sample("owlsocket_queued_messages", till) == 0
        assert sample("owlsocket_backlog_messages", till) == 0
        eventually(lambda: sample("owlsocket_backlog_messages", {"connection": "shop"}) == 1)
        assert sample("owlsocket_latency_seconds", till) == conn.latency
        assert sample("owlsocket_messages_total", {**till, "direction": "out"}) == conn.stats.messages_out
        assert sample("owlsocket_bytes_total", {**till, "direction": "out"}) == conn.stats.bytes_out
        assert sample("owlsocket_wire_bytes_total", {**till, "direction": "out"}) == conn.stats.wire_bytes_out
        conn.on_error(lambda error, context: None)
        conn.receive("garbage")
        assert sample("owlsocket_malformed_total", till) == 1
        conn.receive('{"type": "result", "id": "nobody"}')
        assert sample("owlsocket_unmatched_total", till) == 1
        assert sample("owlsocket_dropped_total", till) == 0
        future.cancel()


def test_counters_never_decrease(server: Server, registry: CollectorRegistry) -> None:
    """Counters include closed connections, which leave no series of their own."""
    sample = registry.get_sample_value
    rows = 0
    for number in range(1, 4):
        with connect(server.url) as conn:
            for _ in range(10):
                conn.call("echo")
            messages = conn.stats.messages_out
        assert conn.wait_closed(scaled(5))
        eventually(lambda: sample("owlsocket_connections", {"connection": "shop", "state": "open"}) == 0)
        sent = sample("owlsocket_messages_total", {"connection": "owlsocket", "direction": "out"}) or 0
        assert sent >= number * messages
        rows = rows or len(generate_latest(registry).splitlines())
        assert len(generate_latest(registry).splitlines()) == rows
    assert sample("owlsocket_connections", {"connection": "owlsocket", "state": "open"}) == 0


@pytest.mark.slow
def test_a_reconnect_is_counted(server: Server, registry: CollectorRegistry) -> None:
    """Also after the connection is closed."""
    sample = registry.get_sample_value
    with connect(server.url, name="dropped") as conn:
        conn.submit("drop")
        eventually(lambda: sample("owlsocket_reconnects_total", {"connection": "dropped"}) == 1)
    assert sample("owlsocket_reconnects_total", {"connection": "dropped"}) == 1


def test_the_namespace_is_configurable_and_registered_once(server: Server) -> None:
    """A second registration of a name raises and leaves nothing in the registry."""
    registry = CollectorRegistry()
    with OwlSocketMetrics(registry, namespace="shop", buckets=[1, 2]), connect(server.url, name="till") as conn:
        conn.call("echo")
        with pytest.raises(ValueError, match="Duplicated"):
            OwlSocketMetrics(registry, namespace="shop")
        text = generate_latest(registry).decode()
        assert set(re.findall(r'shop_call_seconds_bucket.*le="([^"]*)"', text)) == {"1.0", "2.0", "+Inf"}
        assert "owlsocket_" not in text
        OwlSocketMetrics(registry).close()
        alone = CollectorRegistry()
        alone.register(ConnectionCollector("other"))
        assert 'other_connections{connection="till",state="open"} 1.0' in generate_latest(alone).decode()


class CountedMetrics(OwlSocketMetrics):
    """Metrics that count their calls."""

    calls = 0

    def on_call_end(self, call: Operation, outcome: Outcome, token: Any) -> None:
        """Count the call."""
        self.calls += 1
        super().on_call_end(call, outcome, token)


def test_after_close_nothing_is_counted(server: Server) -> None:
    """Connections are not instrumented any more; closing is idempotent."""
    metrics = CountedMetrics(CollectorRegistry())
    with connect(server.url) as conn:
        conn.call("echo")
        metrics.close()
        metrics.close()
        conn.call("echo")
    assert metrics.calls == 1


def test_the_error_without_the_package_names_the_extra() -> None:
    """In the last line of the traceback."""
    script = "import sys; sys.modules['prometheus_client'] = None; import owlsocket_sync.contrib.prometheus"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert "python -m pip install 'owlsocket-sync[prometheus]'" in seen.stderr.splitlines()[-1]


def open_connections() -> dict[str, int]:
    """Return the number of open connections by the name of their summary."""
    counts = {name: summary.states.get("open", 0) for name, summary in summarise().items()}
    return {name: count for name, count in counts.items() if count}


def test_connections_are_summed_by_name(server: Server) -> None:
    """Unnamed connections, connections of one server, and names that differ by a number."""
    with connect(server.url), connect(server.url, name="shard#1"), connect(server.url, name="shard#2"):
        # The server lists a connection shortly before the connection is open.
        eventually(lambda: open_connections() == {"owlsocket": 1, "shard": 2, "shop": 3})


GUNICORN = """
import os
from pathlib import Path
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from owlsocket_sync.context import Context, SocketService
from owlsocket_sync.contrib.prometheus import OwlSocketMetrics

OwlSocketMetrics()
context = Context(SocketService(os.environ["URL"], alias="till"))

def application(environ, start_response):
    if environ["PATH_INFO"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        body = generate_latest(registry)
    else:
        body = str(context.service("till").connection.call("meet", os.getpid(), timeout=20)).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
"""


@pytest.mark.slow
def test_under_gunicorn_calls_of_all_workers_are_summed(tmp_path: Path) -> None:
    """By the multiprocess mode of prometheus_client, loaded before the fork; it does not support the collector."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(GUNICORN))
    (tmp_path / "prom").mkdir()
    both = threading.Barrier(2)

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("meet", lambda pid: both.wait(scaled(20)))

    with serve(handler) as server:
        extra = {"URL": server.url, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "prom")}
        command = "-m gunicorn -w 2 --preload --bind 127.0.0.1:0 --no-control-socket shop:application".split()
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment("ignore", **extra),
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            url = listening(process)
            answers = Collector()
            for _ in range(2):  # each worker serves one at a time, and either waits for the other
                threading.Thread(target=lambda: answers(fetch(url)), daemon=True).start()
            assert sorted(answers.wait(2, 30)) == ["0", "1"]
            text = fetch(f"{url}/metrics")
        finally:
            process.terminate()
            process.communicate(timeout=scaled(20))
    assert 'owlsocket_calls_total{connection="till",method="meet",outcome="ok"} 2.0' in text
    assert 'owlsocket_call_seconds_count{connection="till",method="meet"} 2.0' in text
    assert "owlsocket_connections" not in text
    assert os.listdir(tmp_path / "prom")


def listening(process: subprocess.Popen[str]) -> str:
    """Return the address that gunicorn logs."""
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"Listening at: (http://[\d.:]+)", line)
        if found:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return found[1]
    raise AssertionError("gunicorn did not start")


def fetch(url: str) -> str:
    """Return the page at an address."""
    with urllib.request.urlopen(url, timeout=scaled(30)) as response:
        return str(response.read().decode())
