"""Handlers see nothing of each other: each runs in a copy of the context of its registration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from owlsocket_sync import AuthenticationStage, Connection, connect
from owlsocket_sync.protocol.subscriptions import HandlerContext
from owlsocket_sync.server import Request
from owlsocket_sync.server.options import Handler, ServerOptions
from owlsocket_sync.server.server import Server
from support.helpers import Collector, scaled
from support.loads import both_ends

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")

both_sides = pytest.mark.parametrize("side", ["client", "server"])

Note = Callable[[str], None]


def _serve(handler: Handler, handler_context: HandlerContext) -> Server:
    return Server(handler, "127.0.0.1", 0, ServerOptions(handler_context=handler_context))


def _register(conn: Connection, note: Note) -> None:
    """Handlers of every kind, each of which notes what it finds in its context, and changes it."""

    def accept(id: Any, payload: Any) -> bool:
        note("acknowledge")
        conn.reply(id, payload)
        return True

    def authenticate(stage: Any, payload: Any) -> tuple[Any, Any]:
        note("authenticate")
        return stage, payload

    conn.observe("event", lambda message: note("observe"))
    conn.observe("*", lambda message: note("observe all"))
    conn.perform("call", lambda: note("perform"))
    conn.listen(lambda message: note("listen"))
    conn.on_error(lambda error, context: note("on_error"))
    conn.acknowledge(accept)
    conn.authenticate = authenticate


def _use(asker: Connection) -> None:
    """One message for each of them."""
    asker.notify("event")
    asker.call("call", timeout=scaled(5))
    with asker.stream(1, timeout=scaled(5)) as responses:
        next(responses)
    asker.auth(AuthenticationStage.AUTHENTICATE, None, timeout=scaled(5))
    with pytest.raises(Exception, match="no handler"):
        asker.call("missing", timeout=scaled(5))


@both_sides
def test_a_handler_finds_the_context_of_its_registration(side: str) -> None:
    """And never a change that another handler, or an earlier run of its own, has made."""
    found = Collector()

    def note(handler: str) -> None:
        found((handler, TENANT.get()))
        TENANT.set("another")

    with both_ends(side) as (asker, performer):
        token = TENANT.set("ours")
        try:
            _register(performer, note)
        finally:
            TENANT.reset(token)
        for _ in range(2):
            _use(asker)
    handlers = {"observe", "observe all", "perform", "listen", "on_error", "acknowledge", "authenticate"}
    assert {handler for handler, _ in found.items} == handlers
    assert {tenant for _, tenant in found.items} == {"ours"}


@both_sides
def test_a_callback_finds_the_context_in_which_it_was_added(side: str) -> None:
    """Each callback of a future, and each observer of a request, in a context of its own."""
    found, go = Collector(), threading.Event()

    def note(_: object) -> bool:
        found(TENANT.get())
        TENANT.set("another")
        return True

    def accept(id: Any, payload: Any) -> bool:
        performer.reply(id, 1)
        performer.reply(id, 2)
        return True

    with both_ends(side) as (asker, performer):
        performer.perform("wait", lambda: go.wait(scaled(5)))
        performer.acknowledge(accept)
        token = TENANT.set("ours")
        future = asker.submit("wait")
        future.add_done_callback(note)
        future.add_done_callback(note)
        asker.request(None, note)
        TENANT.reset(token)
        go.set()
        assert found.wait(4) == ["ours"] * 4


def test_the_context_of_a_server_is_entered_inside_of_that_of_the_handler() -> None:
    """What it sets is there for every kind of handler, and gone for the next one."""
    found, entered = Collector(), Collector()

    @contextmanager
    def handler_context() -> Iterator[None]:
        entered(TENANT.get())
        TENANT.set("app")
        yield

    def note(handler: str) -> None:
        found((handler, TENANT.get()))

    def handler(conn: Connection, request: Request) -> None:
        _register(conn, note)

    with _serve(handler, handler_context) as server, connect(server.url) as asker:
        _use(asker)
    assert {tenant for _, tenant in found.items} == {"app"}
    assert set(entered.items) == {"nobody"}


def test_a_handler_context_that_fails_is_reported_and_answers_the_call() -> None:
    """The caller does not wait for its timeout, and the end of the server works on."""
    errors = Collector()
    fails = [True]

    @contextmanager
    def handler_context() -> Iterator[None]:
        if fails.pop() if fails else False:
            raise LookupError("no application")
        yield

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: errors(str(context)))
        conn.perform("call", lambda: 1)

    with _serve(handler, handler_context) as server, connect(server.url) as asker:
        with pytest.raises(Exception, match="no application"):
            asker.call("call", timeout=scaled(5))
        assert asker.call("call", timeout=scaled(5)) == 1
        assert errors.wait(1) == ["perform call"]
