"""Events and queued messages as data frames, with types that do not depend on missing values."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync import Connection, EventMessage, Message, SocketConnectionError
from owlsocket_sync.contrib.jupyter import events_frame, queue_frame, to_frame
from owlsocket_sync.contrib.jupyter.frames import dtype_of
from owlsocket_sync.protocol.delivery import Consumed
from owlsocket_sync.server import Request
from support.helpers import eventually, scaled

pandas = pytest.importorskip("pandas")

TIME = "datetime64[us, UTC]"
TICKS: list[Any] = [
    {"price": 1.5, "size": {"n": 3, "unit": "kg"}, "ok": True},
    {"price": 2, "size": {"n": None}, "tags": ["a"]},
    {"price": None, "name": "hoot"},
]


@pytest.fixture
def owlsocket_handler() -> Callable[[Connection, Request], object]:
    """Send the messages that a test requests."""

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("tick", lambda: [conn.notify("tick", tick) for tick in TICKS] and None)
        conn.perform(
            "push", lambda payloads: [conn.enqueue(item, f"q{at}") for at, item in enumerate(payloads)] and None
        )
        conn.perform("leave", lambda: conn.close(4000))

    return handler


def types(frame: Any) -> dict[str, str]:
    """Return the dtypes of the columns."""
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def test_keys_become_columns(owlsocket_connection: Connection) -> None:
    """Nested keys have dots; missing values change no dtype."""
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


def test_a_frame_has_the_events_received_in_time(owlsocket_connection: Connection) -> None:
    """An empty frame has the fixed columns with their dtypes; the connection stays open."""
    conn = owlsocket_connection
    frame = events_frame(conn, "tick", limit=99, timeout=scaled(0.2), start=lambda: conn.call("tick"))
    assert len(frame) == 3
    empty = events_frame(conn, "tick", timeout=0.01)
    assert types(empty) == {"time": TIME, "sent": TIME, "event": "string"}
    assert types(pandas.concat([empty, frame])) == types(frame)
    assert not conn._core.registrations.event_queues
    assert conn.ping(scaled(5)) > 0


def test_a_frame_ends_with_its_connection(owlsocket_connection: Connection) -> None:
    """Received events are kept; an error of ``start`` is raised."""
    conn = owlsocket_connection

    def start() -> None:
        conn.call("tick")
        threading.Thread(target=conn.close).start()

    assert len(events_frame(conn, "*", limit=99, timeout=scaled(20), start=start)) == 3
    with pytest.raises(SocketConnectionError):
        events_frame(conn, "tick", timeout=1, start=lambda: conn.call("tick"))


def test_a_limit_or_a_timeout_is_required(owlsocket_connection: Connection) -> None:
    """Before any waiting."""
    with pytest.raises(ValueError, match="limit or timeout"):
        events_frame(owlsocket_connection, "tick")


def test_the_queue_becomes_a_frame(owlsocket_connection: Connection) -> None:
    """Matching messages are taken, others stay."""
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


def test_the_queue_is_waited_for_within_the_timeout(owlsocket_connection: Connection) -> None:
    """The timeout holds for each message."""
    conn = owlsocket_connection
    conn.submit("push", ["late"])
    frame = queue_frame(conn, limit=1, timeout=scaled(5))
    assert frame.payload.tolist() == ["late"]


@pytest.mark.slow
def test_a_failure_leaves_the_queue_unchanged(owlsocket_connection: Connection) -> None:
    """All messages return in their order; others may take the rest meanwhile."""
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


def test_to_frame_converts_existing_messages() -> None:
    """Events with their times; other messages with their ids."""
    frame = to_frame([EventMessage(payload=7, event="tick", dt=1.5), EventMessage(payload=None, event="tock")])
    assert types(frame) == {"time": TIME, "sent": TIME, "event": "string", "payload": "Int64"}
    assert frame.time[0] == pandas.Timestamp(1.5, unit="s", tz="UTC")
    assert frame.time.isna().tolist() == [False, True]
    frame = to_frame([Consumed({"a": 1}, 17, 0), Message(payload={"b": 2})])
    assert frame.id.tolist()[0] == "17"
    assert set(frame.columns) == {"time", "id", "a", "b"}


def test_a_key_with_the_name_of_a_fixed_column_is_renamed() -> None:
    """Under another name."""
    frame = to_frame([EventMessage(payload={"time": "noon", "event": "party", "id": 3}, event="tick")])
    assert list(frame.columns) == ["time", "sent", "event", "payload.time", "payload.event", "id"]
    assert frame["payload.time"].tolist() == ["noon"]


def test_payloads_of_several_kinds_share_a_frame() -> None:
    """Payloads other than objects, and empty objects, have one column; nesting uses no recursion."""
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
def test_the_dtype_depends_on_the_values(values: list[Any], kind: str) -> None:
    """It does not depend on whole numbers or missing values."""
    assert dtype_of(values) == kind
    assert str(pandas.array(values, dtype=kind).dtype).lower().startswith(("numpy", kind.lower(), "object"))


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command that installs it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match=r"pandas is not installed: .*owlsocket-sync\[jupyter\]"):
        to_frame([])
