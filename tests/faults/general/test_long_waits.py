"""Each public parameter of seconds, asked for more than a day: the wait works, and its thread goes on.

A system call refuses a wait that it cannot count: epoll and sockets after 24 days, locks after 292 years. So waits are
cut, and continued until their deadline.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync import Backoff, ClientOptions, Connection, Heartbeat, ResilientError, connect
from owlsocket_sync.auth import KeyPair, Login
from owlsocket_sync.context import SocketService
from owlsocket_sync.locks import MAX_WAIT
from owlsocket_sync.server import Request, ServerOptions, serve
from owlsocket_sync.server.server import Server
from owlsocket_sync.stores import MemoryStore
from owlsocket_sync.testing import FaultProxy, pair
from support.helpers import eventually, scaled
from support.variants import kinds

pytestmark = pytest.mark.slow

MODULES = ["owlsocket_sync", *(f"owlsocket_sync.{name}" for name in ("server", "testing", "auth", "context"))]
NAMES = {"timeout", "call_timeout", "seconds", "jitter", "interval", "initial", "cap", "healthy_after", "margin"}
VALUES = {"CallMessage", "Outcome"}
"""Messages and results: nothing waits for their fields."""

MONTH = 30 * 86_400.0
PAUSE = 0.1


def pause() -> None:
    """Let a moment pass."""
    threading.Event().wait(PAUSE)


def late(action: Callable[[], object]) -> None:
    """Do something after a moment, on another thread."""
    timer = threading.Timer(PAUSE, action)
    timer.daemon = True
    timer.start()


def handler(conn: Connection, request: Request) -> None:
    """Answer late, so that whoever asks has to wait."""

    conn.perform("slow", pause)
    conn.perform("event", lambda: late(lambda: conn.notify("event", 1)))
    conn.perform("message", lambda: late(lambda: conn.enqueue("message")))
    conn.perform("cut", lambda: late(conn._core.carrier.abort))  # type: ignore[attr-defined]
    conn.acknowledge(lambda id, payload: late(lambda: conn.reply(id, payload)) or True)
    conn.authenticate = lambda stage, payload: (pause() or stage, payload)


class Scenario:
    """A server, and what is done with so many seconds.

    Args:
        seconds: the value of the parameter.
    """

    def __init__(self, server: Server, seconds: float) -> None:
        self.server = server
        self.seconds = seconds

    def client(self, **options: Any) -> Connection:
        """Return a connection that waits for nothing longer than the test may take."""
        return connect(self.server.url, **{"timeout": scaled(20), "call_timeout": scaled(20), **options})

    def with_client(self, use: Callable[[Connection], object], **options: Any) -> None:
        """Use a connection; without errors it is the same link at the end."""
        with self.client(**options) as conn:
            use(conn)
            assert conn.stats.reconnects == 0


def slow(conn: Connection) -> None:
    """Wait for an answer, as a blocking call and as a future."""
    assert conn.call("slow") is None
    assert conn.submit("slow").result(scaled(20)) is None


def verb(act: Callable[[Connection, float], object], trigger: str | None = None) -> Callable[[Scenario], None]:
    """Return the scenario of a method of a connection, whose wait ends by what the server does on ``trigger``."""

    def run(scenario: Scenario) -> None:
        def use(conn: Connection) -> None:
            if trigger is not None:
                conn.call(trigger)
            act(conn, scenario.seconds)

        scenario.with_client(use)

    return run


def reconnecting(scenario: Scenario, backoff: Backoff) -> None:
    """Lose the link; wait for a moment, or for the end of the pause by `reconnect`."""
    with scenario.client(reconnect=backoff, heartbeat=None) as conn:
        conn.call("cut")
        eventually(lambda: conn.state.value == "reconnecting" or conn.stats.reconnects)
        pause()
        if not conn.stats.reconnects:
            conn.reconnect()
        conn.wait_open(scaled(10))
        assert conn.call("slow") is None


def delayed(scenario: Scenario, **delay: Any) -> None:
    """Delay a proxy until its faults end."""
    proxy = FaultProxy("127.0.0.1", scenario.server.port)
    with proxy, connect(proxy.url(), timeout=scaled(20), reconnect=None) as conn:
        proxy.delay(**delay)
        pending = conn.submit("slow", timeout=scaled(20))
        pause()
        proxy.clear()
        assert pending.result(scaled(20)) is None


def served(scenario: Scenario, **options: Any) -> None:
    """Serve a client, with an option of the server."""
    with serve(handler, **options) as server, connect(server.url, timeout=scaled(20)) as conn:
        slow(conn)
        pause()
        slow(conn)


def logged_in(scenario: Scenario, **options: Any) -> None:
    """Log in at a server that is none for that: the refusal is its own."""
    login = Login(f"http://127.0.0.1:{scenario.server.port}", KeyPair.generate(), **options)
    with pytest.raises(ResilientError) as caught:
        login.token(scenario.seconds)
    assert not isinstance(caught.value.__cause__, OverflowError)


def closed_by_itself(scenario: Scenario, act: Callable[[Server, float], object]) -> None:
    """Wait for the end of a server, which comes from another thread."""
    server = serve(handler)
    with connect(server.url, timeout=scaled(20), reconnect=None) as conn:
        assert conn.call("slow") is None
        timer = threading.Timer(PAUSE, server.close)
        timer.start()
        act(server, scenario.seconds)
        timer.join()


def in_memory(scenario: Scenario) -> None:
    """Call over a pair."""
    left, right = pair(call_timeout=scenario.seconds)
    right.perform("double", lambda value: 2 * value)
    assert left.call("double", 1) == 2
    left.close()


def serving(options: Callable[[float], dict[str, Any]]) -> Callable[[Scenario], None]:
    """Return the scenario of an option of a server."""
    return lambda scenario: served(scenario, **options(scenario.seconds))


def connecting(options: Callable[[float], dict[str, Any]]) -> Callable[[Scenario], None]:
    """Return the scenario of an option of a connection."""
    return lambda scenario: scenario.with_client(slow, **options(scenario.seconds))


def as_options(options: Callable[[float], dict[str, Any]]) -> Callable[[Scenario], None]:
    """Return the scenario of an option of a service, which connects at its first use."""

    def run(scenario: Scenario) -> None:
        values = options(scenario.seconds)
        assert ClientOptions(url=scenario.server.url, **values).timeout
        service = SocketService(scenario.server.url, **values)
        slow(service.connection)
        service.close()

    return run


def closed_meanwhile(conn: Connection, seconds: float) -> None:
    """Wait for the end, which comes from another thread."""
    late(conn.close)
    conn.wait_closed(seconds)


def used(scenario: Scenario) -> None:
    """Connect a service within a timeout."""
    service = SocketService(scenario.server.url, timeout=scaled(20))
    slow(service.use(scenario.seconds)[0])
    service.close()


def flushed(scenario: Scenario) -> None:
    """Wait for an ack, which comes when another thread has done the work."""
    with (
        MemoryStore() as store,
        serve(handler, inbox=store.queue("in")) as server,
        connect(server.url, outbox=store.queue("out")) as conn,
    ):

        def work() -> None:
            message = store.queue("in").get(timeout=scaled(10))
            assert message is not None
            message.ack()

        conn.enqueue(1)
        late(work)
        conn.flush(scenario.seconds)


def under_deadline(conn: Connection, seconds: float) -> None:
    """Call under a deadline."""
    with conn.deadline(seconds):
        slow(conn)


TIMEOUT = {
    "auth": verb(lambda conn, seconds: conn.auth("init", {}, timeout=seconds)),
    "call": verb(lambda conn, seconds: conn.call("slow", timeout=seconds)),
    "close": verb(lambda conn, seconds: conn.close(timeout=seconds)),
    "consume": verb(lambda conn, seconds: conn.consume(timeout=seconds), "message"),
    "drain": verb(lambda conn, seconds: (conn.submit("slow"), conn.drain(seconds))),
    "events": verb(lambda conn, seconds: (conn.call("event"), next(iter(conn.events("event", timeout=seconds))))),
    "messages": verb(lambda conn, seconds: next(iter(conn.messages(timeout=seconds))), "message"),
    "ping": verb(lambda conn, seconds: conn.ping(seconds)),
    "stream": verb(lambda conn, seconds: next(iter(conn.stream("stream", timeout=seconds)))),
    "map": verb(lambda conn, seconds: list(conn.map("slow", [()], timeout=seconds, unpack=True))),
    "submit": verb(lambda conn, seconds: conn.submit("slow", timeout=seconds).result(scaled(20))),
    "wait_closed": verb(closed_meanwhile),
    "wait_idle": verb(lambda conn, seconds: conn.wait_idle(seconds)),
    "wait_open": verb(lambda conn, seconds: conn.wait_open(seconds)),
}
SCENARIOS: dict[str, Callable[[Scenario], None]] = {
    **{f"Connection.{name}(timeout)": scenario for name, scenario in TIMEOUT.items()},
    "Connection.deadline(seconds)": verb(under_deadline),
    "Connection.flush(timeout)": flushed,
    "CallFuture.result(timeout)": verb(lambda conn, seconds: conn.submit("slow").result(seconds)),
    "CallFuture.exception(timeout)": verb(lambda conn, seconds: conn.submit("slow").exception(seconds)),
    "Stream(timeout)": TIMEOUT["stream"],
    "Backoff(initial)": lambda it: reconnecting(it, Backoff(it.seconds, cap=it.seconds, jitter="none")),
    "Backoff(cap)": lambda it: reconnecting(it, Backoff(0.01, cap=it.seconds)),
    "Backoff(healthy_after)": lambda it: reconnecting(it, Backoff(0.01, cap=0.01, healthy_after=it.seconds)),
    "Heartbeat(interval)": connecting(lambda seconds: {"heartbeat": Heartbeat(seconds, 1.0)}),
    "Heartbeat(timeout)": connecting(lambda seconds: {"heartbeat": Heartbeat(PAUSE / 2, seconds)}),
    "connect(timeout)": connecting(lambda seconds: {"timeout": seconds}),
    "connect(call_timeout)": connecting(lambda seconds: {"call_timeout": seconds, "heartbeat": None}),
    "ClientOptions(timeout)": as_options(lambda seconds: {"timeout": seconds}),
    "ClientOptions(call_timeout)": as_options(lambda seconds: {"call_timeout": seconds, "heartbeat": None}),
    "SocketService.use(timeout)": used,
    "ServerOptions(timeout)": serving(lambda seconds: {"timeout": ServerOptions(timeout=seconds).timeout}),
    "ServerOptions(call_timeout)": serving(
        lambda seconds: {"call_timeout": ServerOptions(call_timeout=seconds).call_timeout}
    ),
    "serve(timeout)": serving(lambda seconds: {"timeout": seconds}),
    "serve(call_timeout)": serving(lambda seconds: {"call_timeout": seconds, "heartbeat": None}),
    "Server.close(timeout)": lambda it: closed_by_itself(it, lambda server, seconds: server.close(timeout=seconds)),
    "Server.close_at_exit(seconds)": lambda it: closed_by_itself(
        it, lambda server, seconds: server.close_at_exit(seconds)
    ),
    "Server.wait(timeout)": lambda it: closed_by_itself(it, lambda server, seconds: server.wait(seconds)),
    "FaultProxy.delay(seconds)": lambda it: delayed(it, seconds=it.seconds),
    "FaultProxy.delay(jitter)": lambda it: delayed(it, seconds=0.0, jitter=it.seconds),
    "pair(call_timeout)": in_memory,
    "Login(timeout)": lambda it: logged_in(it, timeout=it.seconds),
    "Login(margin)": lambda it: logged_in(it, timeout=scaled(20), margin=it.seconds),
    "Login.token(timeout)": lambda it: logged_in(it, timeout=scaled(20)),
}


def parameters() -> set[str]:
    """Return the parameters of seconds of all that is public."""
    found = set()
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            value = getattr(module, name)
            if name in VALUES or not callable(value):
                continue
            functions = {name: value}
            if inspect.isclass(value):
                methods = {key: getattr(value, key) for key in dir(value) if not key.startswith("_")}
                functions |= {f"{name}.{key}": method for key, method in methods.items() if callable(method)}
            for label, function in functions.items():
                found |= {f"{label}({parameter})" for parameter in _seconds_of(function)}
    return found


def _seconds_of(function: Any) -> set[str]:
    try:
        signature = inspect.signature(function)
    except ValueError:
        return set()
    return {
        name
        for name, parameter in signature.parameters.items()
        if name in NAMES and "float" in str(parameter.annotation)
    }


def test_each_parameter_of_seconds_has_its_scenario() -> None:
    """A new parameter needs one."""
    assert parameters() - set(SCENARIOS) == set()
    assert len(parameters()) > 30


def run(name: str, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    """Run a scenario, in which no thread of ours may fail."""
    caplog.set_level(logging.ERROR, "owlsocket_sync")
    with serve(handler) as server:
        SCENARIOS[name](Scenario(server, seconds))
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("seconds", kinds([MONTH, 1e12, 1e300], MONTH))
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_wait_of_more_than_a_day_works(name: str, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    """A month, which epoll refuses; 30 000 years, which locks refuse; and what no clock represents."""
    run(name, seconds, caplog)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_wait_goes_on_after_its_first_day(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With days of 10 ms: the deadline ends it, or what it waits for."""
    patched = [module for key, module in sys.modules.items() if key.startswith("owlsocket_sync.")]
    for module in patched:
        if getattr(module, "MAX_WAIT", None) == MAX_WAIT:
            monkeypatch.setattr(module, "MAX_WAIT", 0.01)
    run(name, MONTH, caplog)
