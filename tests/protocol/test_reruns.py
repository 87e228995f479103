"""Cells of a notebook that run again: their functions replace the handlers of the same name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from owlsocket_sync import Connection, EventMessage, Subscription
from support.pair import make_pair

CELL = """
def handler(*arguments):
    seen.append(number)

def factory():
    def inner(*arguments):
        seen.append(number)
    return inner

class Kitchen:
    def method(self, *arguments):
        seen.append(number)

unnamed = lambda *arguments: seen.append(number)
"""


def run_cell(number: int, seen: list[int]) -> Any:
    """Return what a cell defines, which notes its number; as IPython runs cells."""
    cell: dict[str, Any] = {"__name__": "__main__", "seen": seen, "number": number}
    exec(CELL, cell)
    return SimpleNamespace(**cell)


@pytest.fixture
def seen() -> list[int]:
    """The numbers of the cells whose handlers ran."""
    return []


@pytest.fixture
def ends() -> tuple[Connection, Connection]:
    """Two ends."""
    left, right, *_ = make_pair()
    return left, right


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of IPython."""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))


REGISTER: list[Callable[[Connection, Any], Any]] = [
    lambda conn, handler: conn.observe("tick", handler),
    lambda conn, handler: conn.observe("*", handler),
    lambda conn, handler: conn.observe("tick", handler, payload_type=int),
    lambda conn, handler: conn.observe("tick")(handler),
    lambda conn, handler: conn.listen(handler),
]


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("register", REGISTER)
def test_a_function_of_a_cell_replaces_itself(
    ends: tuple[Connection, Connection], seen: list[int], register: Callable[[Connection, Any], Any]
) -> None:
    """However often the cell runs, its handler runs once: that of the last run."""
    left, right = ends
    for number in range(3):
        register(right, run_cell(number, seen).handler)
    left.notify("tick", 1)
    assert seen == [2]


@pytest.mark.usefixtures("shell")
def test_handlers_of_every_kind_replace_themselves(ends: tuple[Connection, Connection], seen: list[int]) -> None:
    """The subscriptions of earlier runs are inactive."""
    left, right = ends
    rows: list[list[Subscription]] = []
    for number in range(2):
        handler = run_cell(number, seen).handler
        registered = right.perform("m", handler), right.acknowledge(handler), right.observe_response(handler)
        rows.append([*registered, right.on_state(handler), right.on_error(handler)])
    assert [subscription.active for subscription in rows[0]] == [False] * 5
    assert [subscription.active for subscription in rows[1]] == [True] * 5
    left.call("m")
    assert seen == [1]
    rows[1][0]()
    assert right._core.registrations.performers.get("m") == ()


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("kind", ["unnamed", "factory", "method", "partial"])
def test_handlers_that_share_a_name_stay_side_by_side(
    ends: tuple[Connection, Connection], seen: list[int], kind: str
) -> None:
    """A program may register several of them for one event."""
    left, right = ends
    for number in range(2):
        cell = run_cell(number, seen)
        handlers = {
            "unnamed": cell.unnamed,
            "factory": cell.factory(),
            "method": cell.Kitchen().method,
            "partial": partial(cell.handler),
        }
        right.observe("tick", handlers[kind])
    left.notify("tick", 1)
    assert seen == [0, 1]


@pytest.mark.usefixtures("shell")
def test_other_events_keep_their_handlers(ends: tuple[Connection, Connection], seen: list[int]) -> None:
    """A function is replaced where it is registered again, and nowhere else."""
    left, right = ends
    right.observe("tick", run_cell(0, seen).handler)
    right.observe("tock", run_cell(1, seen).handler)
    left.notify("tick")
    left.notify("tock")
    assert seen == [0, 1]


def test_outside_of_ipython_handlers_add_up(
    ends: tuple[Connection, Connection], seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where IPython is loaded and runs no session."""
    left, right = ends
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    for number in range(2):
        right.observe("tick", run_cell(number, seen).handler)
    left.notify("tick")
    assert seen == [0, 1]


@pytest.mark.parametrize("payload_type", [None, int])
def test_replace_does_the_same_anywhere(
    ends: tuple[Connection, Connection], seen: list[int], payload_type: Any
) -> None:
    """For a module that was loaded again; the order is that of the registrations."""
    left, right = ends
    first = right.observe("tick", run_cell(0, seen).handler, payload_type=payload_type)
    right.observe("tick", lambda message: seen.append(-1))
    right.observe("tick", run_cell(1, seen).handler, payload_type=payload_type, replace=True)
    left.notify("tick", 5)
    assert seen == [-1, 1]
    assert not first.active
    right.observe("tick", replace=True)(run_cell(2, seen).handler)
    left.notify("tick", 5)
    assert seen == [-1, 1, -1, 2]


def test_replace_needs_a_name(ends: tuple[Connection, Connection]) -> None:
    """A partial has none, and nothing would be replaced."""
    with pytest.raises(TypeError, match=r"replace=True needs a function or a method, .*, not partial"):
        ends[1].observe("tick", partial(print), replace=True)


def test_a_replaced_handler_starts_no_more(ends: tuple[Connection, Connection]) -> None:
    """Not even for the event that is being handled, which came before the new one was registered."""
    left, right = ends
    seen: list[str] = []

    def late(message: EventMessage) -> None:
        seen.append("late")

    early = right.observe("tick", lambda message: right.observe("tick", late, replace=True))
    right.observe("tick", late)
    left.notify("tick")
    assert seen == []
    early()
    left.notify("tick")
    assert seen == ["late"]
