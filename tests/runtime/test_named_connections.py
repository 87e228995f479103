"""Connections that take each other's place, and those that are forgotten while they are open."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import warnings
import weakref
from collections.abc import Iterator

import pytest

from owlsocket_sync import Connection, ConnectionState, Heartbeat, SocketConnectionError, connect, connections
from owlsocket_sync.runtime.named_connections import NamedConnections
from owlsocket_sync.server import Request, Server, serve
from support.helpers import Collector, eventually, scaled
from support.sockets import free_port

CLOSED = ConnectionState.CLOSED
QUICK = Heartbeat(0.1, scaled(5))


@pytest.fixture
def server() -> Iterator[Server]:
    """Echoes, and tells when it is told to."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)

    with serve(handler) as running:
        yield running


# -- replace -----------------------------------------------------------------------------------------------------------


def test_a_cell_that_runs_twice_leaves_one_connection(server: Server) -> None:
    """The one of the same name is closed before the new one connects; others are left alone."""
    with connect(server.url, name="other") as other:
        first = connect(server.url, name="nb", replace=True)
        changes = Collector()
        first.on_state(lambda change: changes((change.state, change.reason)))
        second = connect(server.url, name="nb", replace=True)
        assert (first.state, second.state, other.state) == (CLOSED, ConnectionState.OPEN, ConnectionState.OPEN)
        assert changes.wait(2)[-1] == (CLOSED, "replaced")
        assert second.call("echo", 1) == 1
        eventually(lambda: len(server.connections) == 2)
        second.close()


def test_connections_of_one_name_live_side_by_side_unless_told_otherwise(server: Server) -> None:
    """A name is no more than a name; what is told closes all of them, forgotten ones too."""
    pair = [connect(server.url, name="twin", heartbeat=QUICK) for _ in range(2)]
    assert [conn.call("echo", 1) for conn in pair] == [1, 1]
    pair[1].observe("never", print)
    with pytest.warns(ResourceWarning, match="'twin'"):
        del pair[1]
    with connect(server.url, name="twin", replace=True):
        assert pair[0].state is CLOSED
        eventually(lambda: len(server.connections) == 1)


def test_of_two_that_replace_each_other_at_once_one_stays(server: Server) -> None:
    """Whoever is later."""
    ready, made = threading.Barrier(4), Collector()

    def make() -> None:
        ready.wait(scaled(5))
        try:
            made(connect(server.url, name="nb", replace=True))
        except SocketConnectionError as error:  # replaced while it connected
            made(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(10))
    eventually(lambda: len(server.connections) == 1)
    alive = [conn for conn in made.wait(4) if isinstance(conn, Connection) and conn.state is not CLOSED]
    assert [conn.call("echo", 2) for conn in alive] == [2]
    alive[0].close()


def test_a_handler_may_replace_its_own_connection(server: Server) -> None:
    """It does not wait for itself."""
    made = Collector()
    with connect(server.url, name="nb") as first:
        first.observe("told", lambda message: made(connect(server.url, name="nb", replace=True)))
        (peer,) = server.connections
        peer.notify("told")  # not in a call of `first`, whose answer could come too late for it
        [second] = made.wait(1)
        assert first.wait_closed(scaled(5)).reason == "replaced"
        assert second.call("echo", 1) == 1
        second.close()


@pytest.mark.parametrize("options", [{}, {"name": ""}])
def test_who_is_replaced_must_be_named(options: dict[str, str]) -> None:
    """Else anybody might be."""
    with pytest.raises(ValueError, match="replace needs a name"):
        connect("ws://127.0.0.1:1", replace=True, **options)  # type: ignore[arg-type]


def test_a_wrong_option_replaces_nobody(server: Server) -> None:
    """It is found before."""
    with connect(server.url, name="nb") as conn:
        with pytest.raises(ValueError, match="token_in"):
            connect(server.url, name="nb", replace=True, token_in=["cookie"])
        assert conn.call("echo", 1) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_replaces_none_of_its_parents(server: Server) -> None:
    """It has none; and the lock of its parent does not keep it."""
    with connect(server.url, name="nb") as conn:
        child = os.fork()
        if child == 0:
            try:
                mine = connect(server.url, name="nb", replace=True)
                os._exit(0 if mine.call("echo", "child", timeout=scaled(5)) == "child" else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert conn.call("echo", 1) == 1
        assert conn.stats.reconnects == 0


def test_names_of_those_who_are_gone_are_forgotten() -> None:
    """The table does not grow."""

    class Something:
        pass

    names: NamedConnections[Something] = NamedConnections()
    kept = Something()
    assert names.add("kept", kept) == []
    for number in range(100):
        names.add(f"gone {number}", Something())
    assert names.add("kept", Something()) == [kept]
    assert len(names._tables.get()._by_name) <= 2


# -- forgotten ---------------------------------------------------------------------------------------------------------


def test_one_that_is_forgotten_warns_and_is_closed(server: Server) -> None:
    """At its next sign of life; threads do not keep it alive."""
    conn = connect(server.url, name="lost", heartbeat=QUICK)
    assert conn.call("echo", 1) == 1
    with pytest.warns(ResourceWarning, match=r"connection 'lost' to ws://127.0.0.1:\d+/ was forgotten"):
        del conn
    eventually(lambda: not server.connections)


@pytest.mark.parametrize("is_open", [True, False], ids=["idle", "without a link"])
def test_one_that_is_forgotten_needs_no_message_to_be_closed(server: Server, is_open: bool) -> None:
    """Nothing comes on its link, and no heartbeat either; or there is no link, and attempts go on."""
    threads = threading.active_count()
    url = server.url if is_open else f"ws://127.0.0.1:{free_port()}"
    conn = connect(url, name="lost", heartbeat=None, wait=is_open)
    if is_open:
        assert conn.call("echo", 1) == 1
        threads = threading.active_count() - 1
    with pytest.warns(ResourceWarning, match="connection 'lost'"):
        del conn
    eventually(lambda: threading.active_count() <= threads)


def test_one_with_handlers_warns_and_goes_on(server: Server) -> None:
    """What was asked for is still done."""
    events = Collector()
    conn = connect(server.url, name="at work", heartbeat=QUICK)
    conn.observe("told", lambda message: events(message.event))
    (peer,) = server.connections
    with pytest.warns(ResourceWarning, match="'at work'"):
        del conn
    peer.notify("told")
    peer.notify("told")
    assert events.wait(2) == ["told", "told"]
    peer.close()
    connect(server.url, name="at work", replace=True).close()


def answer_with(conn: Connection) -> None:
    """Have calls answered by calls on the same connection."""
    conn.perform("twice", lambda value: 2 * conn.call("echo", value))


def test_one_that_is_still_of_use_is_not_forgotten(server: Server) -> None:
    """A handler uses it, or somebody waits for what it is to bring."""
    conn = connect(server.url)
    (peer,) = server.connections
    answer_with(conn)
    kept = weakref.ref(conn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        future, events = conn.submit("echo", 5), conn.events("told", limit=1, timeout=scaled(5))
        del conn
        gc.collect()
        assert future.result(scaled(5)) == 5
        assert peer.call("twice", 4, timeout=scaled(5)) == 8
        peer.notify("told")
        assert [message.event for message in events] == ["told"]
    there = kept()
    assert there is not None
    there.close()


@pytest.mark.parametrize("end", ["close", "with", "peer"])
def test_one_that_was_closed_is_forgotten_in_silence(server: Server, end: str) -> None:
    """Whoever closed it."""
    conn = connect(server.url, reconnect=None)
    if end == "close":
        conn.close()
    elif end == "with":
        with conn:
            pass
    else:
        server.connections[0].close()
        conn.wait_closed(scaled(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del conn
        gc.collect()


def test_who_authenticates_gets_the_connection_that_the_user_has(server: Server) -> None:
    """The very same object, so that what is kept of it counts."""
    seen = Collector()
    with connect(server.url, auth=seen) as conn:
        assert seen.wait(1)[0] is conn


def test_what_threads_hold_is_the_connection_that_the_user_has(server: Server) -> None:
    """The very object, once among the connections of the process."""
    with connect(server.url) as conn, connect(server.url) as other:
        known = [each for each in connections() if not each.accepted and each.url == conn.url]
        assert sorted(map(id, known)) == sorted(map(id, (conn, other)))


def test_a_forked_child_forgets_in_silence(server: Server) -> None:
    """What its parent left open is not its own."""
    conn = connect(server.url)
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("always")
            with warnings.catch_warnings(record=True) as caught:
                del conn
                gc.collect()
            os._exit(len(caught))
        finally:
            os._exit(99)
    assert os.waitpid(child, 0)[1] == 0
    conn.close()


def test_a_forked_child_is_told_of_what_it_forgets(server: Server) -> None:
    """A connection that it has used is its own: it warns, and is closed."""
    conn = connect(server.url, heartbeat=QUICK)
    child = os.fork()
    if child == 0:
        try:
            assert conn.call("echo", 1) == 1
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del conn
                gc.collect()
            eventually(lambda: not connections())
            os._exit(len(caught))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    conn.close()


def connect_and_use(url: str, how: str) -> weakref.ref[Connection]:
    """Make a connection whose handlers use it, which ends in one of these ways."""
    made: list[weakref.ref[Connection]] = []

    def setup(conn: Connection) -> None:
        answer_with(conn)
        made.append(weakref.ref(conn))
        if how == "setup raises":
            raise LookupError("no handlers")

    with contextlib.suppress(LookupError, SocketConnectionError):
        connect(url if how != "refused" else f"ws://127.0.0.1:{free_port()}", setup=setup).close()
    return made[0]


@pytest.mark.parametrize("how", ["closed", "refused", "setup raises"])
def test_nothing_is_left_of_a_connection_that_ended(server: Server, how: str) -> None:
    """Though its handlers hold it, and the error of a failed attempt does."""
    left = connect_and_use(server.url, how)
    eventually(lambda: gc.collect() >= 0 and left() is None)
