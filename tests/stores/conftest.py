"""The stores that have to keep the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.stores import MemoryStore, Queue, SqliteStore, Store
from samples.own_store import MappingStore

MakeStore = Callable[..., Store]

KINDS: dict[str, Callable[[Path], MakeStore]] = {
    "memory": lambda folder: MemoryStore,
    "own": lambda folder: partial(MappingStore, {}),
    "sqlite": lambda folder: partial(SqliteStore, folder / "queue.db"),
}

LINKED = ["memory", "sqlite"]
"""Those whose queues can be the outbox and the inbox of a connection."""


@pytest.fixture(params=list(KINDS))
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Make a store of one kind, with options; at the end it is closed."""
    make = KINDS[request.param](tmp_path)
    stores: list[Store] = []

    def keep(**options: Any) -> Store:
        stores.append(make(**options))
        return stores[-1]

    yield keep
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    """A store of each kind."""
    return make_store()


@pytest.fixture
def queue(store: Store) -> Queue:
    """A queue of it."""
    return store.queue("jobs")
