"""The tables of states and phases: complete, without dead ends, and checked in one setter each."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import owlsocket_sync
from owlsocket_sync.runtime import link_state, supervisor_phase
from owlsocket_sync.server import peer_phase, server_phase
from owlsocket_sync.states import STATE_TRANSITIONS

PACKAGE = Path(owlsocket_sync.__file__).parent
TABLES: dict[str, Mapping[Any, frozenset[Any]]] = {
    "ConnectionState": STATE_TRANSITIONS,
    "LinkState": link_state._TRANSITIONS,
    "SupervisorPhase": supervisor_phase.PHASES,
    "PeerPhase": peer_phase.PHASES,
    "ServerPhase": server_phase.PHASES,
}
SETTERS = {
    ("runtime/carrier_state.py", "_state", "_enter"),
    ("runtime/link_state.py", "state", "enter"),
    ("runtime/supervisor.py", "_phase", "_advance"),
    ("runtime/supervisor.py", "_phase", "close_in_child"),
    ("server/base.py", "_phase", "_enter"),
    ("server/base.py", "_phase", "after_fork"),
    ("server/polled_peer.py", "_phase", "_advance"),
    ("server/peer.py", "_phase", "close_in_child"),
    ("testing/memory.py", "state", "enter"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_complete(name: str) -> None:
    """It has a row for each member, and no member follows itself."""
    table = TABLES[name]
    first = next(iter(table))
    members: list[Any] = list(type(first).__members__.values())
    assert list(table) == members
    assert all(member not in followers for member, followers in table.items())


@pytest.mark.parametrize("name", TABLES)
def test_a_life_ends_from_every_state(name: str) -> None:
    """Each state is reached from the first one, but for what only a fork enters; and each leads to an end."""
    table = TABLES[name]
    first = next(iter(table))
    reached = _reached(table, first)
    assert {member.name for member in set(table) - reached} <= {"ABANDONED"}
    assert all(any(not table[end] for end in _reached(table, member)) for member in table)


def _reached(table: Mapping[Enum, frozenset[Enum]], first: Enum) -> set[Enum]:
    reached, waiting = {first}, [first]
    while waiting:
        new = table[waiting.pop()] - reached
        reached |= new
        waiting.extend(new)
    return reached


def test_each_state_has_one_setter() -> None:
    """Besides the constructor, and a forked child, where no other thread is and no lock may be taken."""
    owners = {(path, attribute) for path, attribute, _ in SETTERS}
    found = {
        (path, attribute, function)
        for path, attribute in owners
        for function in _setters(ast.parse((PACKAGE / path).read_text(encoding="utf-8")), attribute)
    }
    assert found == SETTERS


def _setters(tree: ast.AST, attribute: str) -> set[str]:
    return {
        function.name
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name != "__init__"
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and node.attr == attribute
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
