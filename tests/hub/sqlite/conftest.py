"""Nodes of one hub in a file, as processes have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.hub import SqliteHub

MakeNode = Callable[..., SqliteHub]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the hub."""
    return tmp_path / "hub.db"


@pytest.fixture
def make_node(path: Path) -> Iterator[MakeNode]:
    """Make another node of the hub, with options; at the end all of them are closed."""
    hubs: list[SqliteHub] = []

    def keep(**options: Any) -> SqliteHub:
        hubs.append(SqliteHub(path, **options))
        return hubs[-1]

    yield keep
    for hub in hubs:
        hub.close()
