"""Events and queued messages as data frames, whose types do not depend on what is missing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import eventually, scaled

from owlsocket_sync import Connection, EventMessage, Message, SocketConnectionError
from owlsocket_sync.contrib.jupyter import events_frame, queue_frame, to_frame
from owlsocket_sync.contrib.jupyter.frames import dtype_of
from owlsocket_sync.protocol.queue import Consumed
from owlsocket_sync.server import Request

pandas = pytest.importorskip("pandas")

TIME = "datetime64[us, UTC]"
TICKS: list[Any] = [
    {"price": 1.5, "size": {"n": 3, "unit": "kg"}, "ok": True},
    {"price": 2, "size": {"n": None}, "tags": ["a"]},
    {"price": None, "name": "hoot"},
]


@pytest.fixture
def owlsocket_handler() -> Callable[[Connection, Request], object]:
    """Sends what it is asked for."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("tick", lambda: [conn.notify("tick", tick) for tick in TICKS] and None)
        conn.perform("push", lambda payloads: [conn.enqueue(one, f"q{at}") for at, one in enumerate(payloads)] and None)
        conn.perform("leave", lambda: conn.close(4000))

    return handler


def types(frame: Any) -> dict[str, str]:
    """The types of the columns."""
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_keys_become_columns(owlsocket_connection: Connection) -> None:
    """Those within keys too, with a dot; what is missing is missing, and changes no type."""
    conn = owlsocket_connection
    frame = events_frame(conn, "tick", limit=3, timeout=scaled(5), start=lambda: conn.call("tick"))
    assert types(frame) == {
        "time": TIME, "sent": TIME, "event": "string", "price": "Float64", "size.n": "Int64", "size.unit": "string",
        "ok": "boolean", "tags": "object", "name": "string",
    }  # fmt: skip
    assert frame.price.tolist()[:2] == [1.5, 2.0]
    assert frame["size.n"].isna().tolist() == [False, True, True]
    assert frame.event.tolist() == ["tick"] * 3
    assert frame.time.is_monotonic_increasing
    assert frame.tags[1] == ["a"]


def test_what_came_in_time_is_in_the_frame(owlsocket_connection: Connection) -> None:
    """Be it nothing: the columns of ours are there all the same, with their types; and the connection goes on."""
    conn = owlsocket_connection
    frame = events_frame(conn, "tick", limit=99, timeout=scaled(0.2), start=lambda: conn.call("tick"))
    assert len(frame) == 3
    empty = events_frame(conn, "tick", timeout=0.01)
    assert types(empty) == {"time": TIME, "sent": TIME, "event": "string"}
    assert types(pandas.concat([empty, frame])) == types(frame)
    assert not conn._event_mail
    assert conn.ping(scaled(5)) > 0


def test_a_frame_ends_with_its_connection(owlsocket_connection: Connection) -> None:
    """What came is kept; an error of ``start`` is nobody else's."""
    conn = owlsocket_connection

    def start() -> None:
        conn.call("tick")
        threading.Thread(target=conn.close).start()

    assert len(events_frame(conn, "*", limit=99, timeout=scaled(20), start=start)) == 3
    with pytest.raises(SocketConnectionError):
        events_frame(conn, "tick", timeout=1, start=lambda: conn.call("tick"))


def test_somebody_must_say_when_there_are_enough(owlsocket_connection: Connection) -> None:
    """Before anything is waited for."""
    with pytest.raises(ValueError, match="limit or timeout"):
        events_frame(owlsocket_connection, "tick")


def test_the_queue_becomes_a_frame(owlsocket_connection: Connection) -> None:
    """What fits is taken out, the rest stays."""
    conn = owlsocket_connection
    conn.call("push", [{"n": 1}, {"m": 2}, {"n": 3}, {"n": 4}])
    eventually(lambda: conn.enqueued() == 4)
    frame = queue_frame(conn, limit=2, filter=lambda payload: "n" in payload)
    assert types(frame) == {"time": TIME, "id": "string", "n": "Int64"}
    assert frame.n.tolist() == [1, 3]
    assert frame.id.tolist() == ["q0", "q2"]
    assert conn.enqueued() == 2
    assert queue_frame(conn).id.tolist() == ["q1", "q3"]
    assert types(queue_frame(conn)) == {"time": TIME, "id": "string"}


def test_the_queue_is_waited_for_where_that_is_asked(owlsocket_connection: Connection) -> None:
    """So long for each."""
    conn = owlsocket_connection
    conn.submit("push", ["late"])
    frame = queue_frame(conn, limit=1, timeout=scaled(5))
    assert frame.payload.tolist() == ["late"]


def test_what_fails_takes_nothing_from_the_queue(owlsocket_connection: Connection) -> None:
    """All of it goes back, in its order; others may take meanwhile what was not taken."""
    conn = owlsocket_connection
    conn.call("push", [1, 2, 3])
    eventually(lambda: conn.enqueued() == 3)

    def picky(payload: Any) -> bool:
        if payload == 3:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        queue_frame(conn, filter=picky)
    assert queue_frame(conn).payload.tolist() == [1, 2, 3]


def test_messages_that_one_has_make_a_frame() -> None:
    """Events with the moment at which they came, or were sent; others with their ids."""
    frame = to_frame([EventMessage(payload=7, event="tick", dt=1.5), EventMessage(payload=None, event="tock")])
    assert types(frame) == {"time": TIME, "sent": TIME, "event": "string", "payload": "Int64"}
    assert frame.time[0] == pandas.Timestamp(1.5, unit="s", tz="UTC")
    assert frame.time.isna().tolist() == [False, True]
    frame = to_frame([Consumed({"a": 1}, 17, 0), Message(payload={"b": 2})])
    assert frame.id.tolist()[0] == "17"
    assert set(frame.columns) == {"time", "id", "a", "b"}


def test_a_key_that_is_called_like_a_column_of_ours_keeps_its_place() -> None:
    """Under another name."""
    frame = to_frame([EventMessage(payload={"time": "noon", "event": "party", "id": 3}, event="tick")])
    assert list(frame.columns) == ["time", "sent", "event", "payload.time", "payload.event", "id"]
    assert frame["payload.time"].tolist() == ["noon"]


def test_payloads_of_several_kinds_share_a_frame() -> None:
    """Those that are no objects are in a column of their own; so are empty objects. Depth costs no recursion."""
    deep: dict[str, Any] = {"end": 1}
    for _ in range(1000):
        deep = {"d": deep}
    frame = to_frame(
        [Consumed({"a": 1}, None, 0), Consumed([1], None, 0), Consumed({}, None, 0), Consumed(deep, None, 0)]
    )
    assert frame.payload.tolist()[1:3] == [[1], {}]
    assert [name for name in frame.columns if name.endswith(".end")] == ["d." * 1000 + "end"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None], "Int64"),
        ([2**63], "UInt64"),
        ([-1, 2**63], "object"),
        ([2**64], "object"),
        ([1.0, 2.0], "Float64"),
        ([1, 2.5], "Float64"),
        ([True, None], "boolean"),
        ([True, 1], "object"),
        (["a", None], "string"),
        (["a", 1], "object"),
        ([[1]], "object"),
        ([None], "object"),
        ([], "object"),
    ],
)
def test_a_type_follows_from_what_values_are(values: list[Any], kind: str) -> None:
    """Never from which of them are whole, or missing."""
    assert dtype_of(values) == kind
    assert str(pandas.array(values, dtype=kind).dtype).lower().startswith(("numpy", kind.lower(), "object"))


def test_a_library_that_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of a bare name."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pandas is needed for this: .*owlsocket-sync\[jupyter\]"):
        to_frame([])
