"""Handlers that raise, call back, close or hang: the end that they run on stays consistent, client or server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from owlsocket_sync import Connection, ConnectionState, Heartbeat, ResilientError, SocketConnectionError
from support.figures import Figure
from support.helpers import Collector, eventually, scaled
from support.loads import both_ends

DEPTH = 50

both_sides = pytest.mark.parametrize("side", ["client", "server"])


def fail(error: BaseException) -> Any:
    """Raise it, where an expression is wanted."""
    raise error


def reply_once(conn: Connection, id: Any, payload: Any) -> bool:
    """Answer a request."""
    conn.reply(id, payload)
    return True


def assert_sound(asker: Connection, performer: Connection) -> None:
    """Both ends are open, answer, and wait for nothing."""
    performer.perform("sum", lambda *numbers: sum(numbers))
    asker.perform("sum", lambda *numbers: sum(numbers))
    assert asker.call("sum", 1, 2, timeout=scaled(5)) == 3
    assert performer.call("sum", 3, 4, timeout=scaled(5)) == 7
    assert asker.ping(scaled(5)) < scaled(5)
    for conn in (asker, performer):
        assert conn.state is ConnectionState.OPEN
        assert conn.stats.pending == 0


# -- handlers that raise -----------------------------------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt("stop"), RecursionError("deep")])
def test_row_23_a_performer_raises(side: str, error: BaseException) -> None:
    """Whoever called is told type and message, `on_error` here gets the error itself, and the worker works on."""
    errors = Collector()
    with both_ends(side) as (asker, performer):
        performer.on_error(lambda error, context: errors((error, str(context))))
        performer.perform("bad", lambda: fail(error))
        with pytest.raises(ResilientError, match=str(error)) as caught:
            asker.call("bad", timeout=scaled(5))
        assert type(error).__name__ in caught.value.type
        assert errors.wait(1) == [(error, "perform bad")]
        assert_sound(asker, performer)
    assert len(errors.items) == 1


Register = Callable[[Connection, Connection, Callable[..., Any]], object]

VERBS: dict[str, tuple[Register, Callable[[Connection], object]]] = {
    "observe": (lambda asker, own, bad: own.observe("it", bad), lambda asker: asker.notify("it")),
    "acknowledge": (lambda asker, own, bad: own.acknowledge(bad), lambda asker: asker.request("it")),
    "listen": (lambda asker, own, bad: own.listen(bad), lambda asker: asker.notify("it")),
    "observe_response": (
        lambda asker, own, bad: own.observe_response(bad),
        lambda asker: asker.reply("unasked", "it"),
    ),
    "request": (
        lambda asker, own, bad: (asker.acknowledge(partial(reply_once, asker)), own.request(0, bad)),
        lambda asker: None,
    ),
}


@pytest.mark.slow
@both_sides
@pytest.mark.parametrize("verb", VERBS)
def test_row_23_any_other_handler_raises(side: str, verb: str) -> None:
    """The error reaches `on_error` with the verb that was at work, and everything goes on."""
    errors, (register, provoke) = Collector(), VERBS[verb]
    with both_ends(side) as (asker, performer):
        performer.on_error(lambda error, context: errors((str(error), context.source)))
        register(asker, performer, lambda *_: fail(ValueError("no")))
        provoke(asker)
        assert ("no", verb) in errors.wait(1)
        assert_sound(asker, performer)


@both_sides
def test_row_23_an_error_handler_raises(side: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next error is told all the same."""
    errors = Collector()

    def handle(error: Exception, context: object) -> None:
        errors(str(error))
        raise RuntimeError("the handler of errors failed")

    with both_ends(side) as (asker, performer):
        performer.on_error(handle)
        performer.observe("it", lambda message: fail(ValueError(message.payload)))
        for number in range(2):
            asker.notify("it", number)
        assert errors.wait(2) == ["0", "1"]
        assert_sound(asker, performer)
    assert caplog.text.count("an on_error handler failed") == 1
    eventually(lambda: "(1 more like this)" in caplog.text)


# -- handlers that call back -------------------------------------------------------------------------------------------


@both_sides
def test_row_23_handlers_call_back_to_any_depth(side: str) -> None:
    """Fifty calls are inside one another, each from the handler of the one before, with one worker at either end."""

    def deeper(conn: Connection, level: int) -> int:
        return 1 + int(conn.call("deeper", level - 1, timeout=scaled(30))) if level else 0

    with both_ends(side, workers=1) as (asker, performer):
        for conn in (asker, performer):
            conn.perform("deeper", partial(deeper, conn))
        assert asker.call("deeper", DEPTH, timeout=scaled(30)) == DEPTH
        assert_sound(asker, performer)


@both_sides
def test_row_23_an_observer_calls_the_sender_of_the_event(side: str) -> None:
    """From within its lane, while more events of that name come in."""
    seen = Collector()
    with both_ends(side, workers=1) as (asker, performer):
        asker.perform("double", lambda number: 2 * number)
        performer.observe("it", lambda message: seen(performer.call("double", message.payload, timeout=scaled(10))))
        for number in range(DEPTH):
            asker.notify("it", number)
        assert seen.wait(DEPTH) == [2 * number for number in range(DEPTH)]


# -- handlers that close -----------------------------------------------------------------------------------------------


@both_sides
@pytest.mark.parametrize("verb", ["perform", "observe"])
def test_row_23_a_handler_closes_its_own_connection(side: str, verb: str, figure: Figure) -> None:
    """It returns in time, whoever called is told, and both ends are closed with nothing left over."""
    took = Collector()
    with both_ends(side) as (asker, performer):

        def close(*_: object) -> str:
            began = time.monotonic()
            performer.close(4000, "enough")
            took(time.monotonic() - began)
            return "too late"

        if verb == "perform":
            performer.perform("close", close)
            with pytest.raises(SocketConnectionError):
                asker.call("close", timeout=scaled(5))
        else:
            performer.observe("close", close)
            asker.notify("close")
        assert (asker.wait_closed(scaled(5)).code, performer.wait_closed(scaled(5)).code) == (4000, 4000)
        figure("a handler closes its own connection", took.wait(1)[0], scaled(1), "s")
        assert (asker.stats.pending, performer.stats.pending) == (0, 0)
        with pytest.raises(SocketConnectionError):
            performer.call("more")


@both_sides
@pytest.mark.parametrize("is_handled", [True, False], ids=["on_error", "log"])
def test_row_23_this_end_closes_while_a_handler_calls(
    side: str, is_handled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The call fails with the reason that later calls get, and the failure of the handler is news to nobody."""
    gate, begun, errors, reported = threading.Event(), threading.Event(), Collector(), Collector()

    def hang() -> None:
        begun.set()
        gate.wait()

    def call(message: object) -> None:
        try:
            performer.call("hang", timeout=scaled(10))
        except SocketConnectionError as error:
            errors(error)
            raise ValueError("no answer") from error

    with both_ends(side) as (asker, performer):
        if is_handled:
            performer.on_error(lambda error, context: reported(error))
        asker.perform("hang", hang)
        performer.observe("it", call)
        asker.notify("it")
        assert begun.wait(scaled(5))
        performer.close()
        gate.set()
        [error] = errors.wait(1)
        assert str(error) == f"{performer.name} is closed: this end closed it"
        assert (error.sent, error.retryable) == (True, False)
        with pytest.raises(SocketConnectionError, match="is closed: this end closed it"):
            performer.call("more")
    assert reported.items == []
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_mistake_that_a_close_reveals_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Code of the user's that fails while it handles the error of a call is not taken for that error."""
    gate, begun = threading.Event(), threading.Event()

    def call(message: object) -> None:
        try:
            performer.call("hang", timeout=scaled(10))
        except SocketConnectionError:
            int("mistake")

    with both_ends("client") as (asker, performer):
        asker.perform("hang", lambda: begun.set() or gate.wait())
        performer.observe("it", call)
        asker.notify("it")
        assert begun.wait(scaled(5))
        performer.close()
        gate.set()
        eventually(lambda: "observe it: invalid literal for int()" in caplog.text)


@both_sides
def test_row_23_the_peer_closes_while_a_handler_calls(side: str, caplog: pytest.LogCaptureFixture) -> None:
    """Then the failure of the handler is logged."""
    gate, begun = threading.Event(), threading.Event()
    with both_ends(side) as (asker, performer):
        asker.perform("hang", lambda: begun.set() or gate.wait())
        performer.observe("it", lambda message: performer.call("hang", timeout=scaled(10)))
        asker.notify("it")
        assert begun.wait(scaled(5))
        asker.close(timeout=0.1)
        gate.set()
        eventually(lambda: "observe it: the link was lost before the answer came: 1000" in caplog.text)


# -- handlers that hang ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timing
@both_sides
@pytest.mark.parametrize("verb", ["perform", "observe"])
def test_row_23_a_handler_never_returns(side: str, verb: str, figure: Figure) -> None:
    """Calls, pings and heartbeat go on beside it; closing takes its timeout and no longer."""
    gate, begun = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        begun.set()
        gate.wait()

    beat = Heartbeat(scaled(0.2), scaled(0.2))
    with both_ends(side, workers=1, heartbeat=beat) as (asker, performer):
        asker.perform("sum", lambda *numbers: sum(numbers))
        if verb == "perform":
            performer.perform("hang", hang)
            future = asker.submit("hang")
        else:
            performer.observe("hang", hang)
            asker.notify("hang")
        assert begun.wait(scaled(5))
        assert performer.call("sum", 1, 2, timeout=scaled(5)) == 3
        assert asker.ping(scaled(5)) < scaled(5)
        eventually(lambda: performer.latency is not None or asker.latency is not None)
        assert performer.state is asker.state is ConnectionState.OPEN
        began = time.monotonic()
        performer.close(timeout=0.5)
        took = time.monotonic() - began
        gate.set()
        figure("closing beside a handler that hangs, beyond its timeout", took - 0.5, scaled(0.1), "s")
        assert asker.wait_closed(scaled(5)).code == 1000
        if verb == "perform":
            assert isinstance(future.exception(scaled(5)), SocketConnectionError)


@both_sides
def test_row_23_hanging_handlers_leave_the_other_workers_free(side: str) -> None:
    """Three of four workers hang, and the fourth one serves everybody."""
    gate, begun = threading.Event(), Collector()
    with both_ends(side, workers=4) as (asker, performer):
        performer.perform("hang", lambda: begun(1) or gate.wait())
        futures = [asker.submit("hang") for _ in range(3)]
        begun.wait(3)
        performer.perform("sum", lambda *numbers: sum(numbers))
        assert [asker.call("sum", k, 1, timeout=scaled(5)) for k in range(20)] == list(range(1, 21))
        gate.set()
        assert [future.result(scaled(5)) for future in futures] == [True] * 3
