"""The root of each thread of a client: whatever is raised there becomes an ending, and frees all that wait."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest

from owlsocket_sync import Backoff, ConnectionState, SocketConnectionError, connect
from owlsocket_sync.runtime.at_exit import ExitRegistry
from owlsocket_sync.runtime.supervisor import Supervisor
from owlsocket_sync.server import serve
from support.handlers import echo
from support.helpers import Collector, eventually, scaled
from support.logs import raising_log

EXITS: list[BaseException] = [SystemExit(1), asyncio.CancelledError(), GeneratorExit()]
ERRORS: list[Exception] = [ValueError("no disk"), OSError(28, "No space left on device")]
QUICK = Backoff(initial=0.01, factor=1.0, cap=0.01, jitter="none", healthy_after=0.0)


@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_a_log_handler_that_raises_at_the_opening_frees_who_waits(error: BaseException) -> None:
    """Who waits for it to open does not wait until its timeout, calls fail, and the link is closed."""
    with serve(echo) as server, raising_log(error, "client: open"):
        with connect(server.url, name="client", reconnect=None, timeout=scaled(60), wait=False) as conn:
            # It may be open for a moment: the log is written after that.
            with suppress(SocketConnectionError):
                conn.wait_open(scaled(60))
            assert "could not be opened" in str(conn.wait_closed(scaled(20)))
            with pytest.raises(SocketConnectionError, match="could not be opened"):
                conn.call("echo", 1)
        eventually(lambda: not server.connections)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "words", ["client: open", "client: reconnecting", "client: closing", "client: closed", "client"]
)
def test_a_log_handler_that_fails_changes_nothing(
    error: Exception, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The link opens, is lost, opens again and closes; the error is printed."""
    with serve(echo) as server, raising_log(error, words):
        with connect(server.url, name="client", reconnect=QUICK) as conn:
            assert conn.call("echo", 1) == 1
            conn.reconnect()
            eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN)
            assert conn.call("echo", 2) == 2
        assert conn.wait_closed(scaled(5)).code == 1000
    assert "a logging handler failed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("error", [*EXITS, *ERRORS], ids=lambda error: type(error).__name__)
def test_a_log_handler_that_raises_at_a_loss_fails_the_calls(error: BaseException) -> None:
    """Pending calls fail with the loss, and the connection either opens again or is closed."""
    with serve(echo) as server, connect(server.url, name="client", reconnect=QUICK) as conn:
        arrived = threading.Event()
        (peer,) = server.connections
        peer.perform("hang", lambda: arrived.set() or threading.Event().wait(scaled(0.5)))
        pending: Future[Any] = conn.submit("hang")
        assert arrived.wait(scaled(5))
        with raising_log(error, "client: reconnecting"):
            conn.reconnect()
            with pytest.raises(SocketConnectionError):
                pending.result(scaled(5))
            eventually(lambda: conn.state in (ConnectionState.OPEN, ConnectionState.CLOSED))


@pytest.mark.parametrize("error", [*EXITS, *ERRORS], ids=lambda error: type(error).__name__)
def test_a_reader_that_exits_closes_its_connection(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause between attempts is where it is; whoever waits for the connection is told."""

    def fail(*_: Any) -> bool:
        raise error

    with serve(echo) as server, connect(server.url, reconnect=QUICK) as conn:
        monkeypatch.setattr(Supervisor, "_wait_backoff", fail)
        server.close()
        info = conn.wait_closed(scaled(5))
        assert info.code == 1006
        assert "the reader failed" in info.reason
        with pytest.raises(SocketConnectionError):
            conn.call("echo", 1)


def test_a_resource_that_fails_at_exit_does_not_keep_others_open(caplog: pytest.LogCaptureFixture) -> None:
    """Each one is closed, and the failure is logged."""

    class Resource:
        def __init__(self, error: Exception | None) -> None:
            self.error = error
            self.closed = False

        def close_at_exit(self, seconds: float) -> None:
            self.closed = True
            if self.error:
                raise self.error

    registry = ExitRegistry()
    resources = [Resource(ValueError("no disk")), Resource(None), Resource(ValueError("no disk"))]
    for resource in resources:
        registry.add(resource)
    registry.close_all()
    assert all(resource.closed for resource in resources)
    assert "was not closed in order" in caplog.text


def test_a_log_handler_that_sends_does_not_hold_up_reconnecting() -> None:
    """On the thread that connects, it gets an error at once instead of waiting for that thread."""
    raised = Collector()

    class Sends(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "client: reconnecting" in record.getMessage():
                try:
                    conn.notify("log", record.getMessage())
                except SocketConnectionError as error:
                    raised(error)

    logger, handler = logging.getLogger("owlsocket_sync"), Sends()
    level = logger.level
    with serve(echo) as server, connect(server.url, name="client", reconnect=QUICK, call_timeout=scaled(60)) as conn:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            conn.reconnect()
            eventually(lambda: conn.stats.reconnects == 1 and conn.state is ConnectionState.OPEN)
            assert conn.call("echo", 1) == 1
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
    assert raised.items


@pytest.mark.parametrize("error", [*EXITS, *ERRORS], ids=lambda error: type(error).__name__)
def test_authentication_that_exits_ends_its_attempt(error: BaseException) -> None:
    """At once, and not at the deadline of the attempt."""

    def authenticate(conn: object) -> None:
        raise error

    with serve(echo) as server:
        with pytest.raises((SocketConnectionError, type(error))) as caught:
            connect(server.url, auth=authenticate, reconnect=None, timeout=scaled(60))
        assert isinstance(caught.value, Exception)
        eventually(lambda: not server.connections)
