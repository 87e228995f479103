"""The stores that have to keep the contract."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakeredis import FakeRedis

from owlsocket_sync.stores import MemoryStore, Queue, RedisStore, SqliteStore, Store
from samples.own_store import MappingStore
from support.redis_servers import RedisServer

MakeStore = Callable[..., Store]


def make_sqlite_store(request: pytest.FixtureRequest) -> MakeStore:
    """Make a store in a file of this test."""
    folder: Path = request.getfixturevalue("tmp_path")
    return partial(SqliteStore, folder / "queue.db")


def make_redis_store(request: pytest.FixtureRequest) -> MakeStore:
    """Make a store in the Redis of this run, with keys of its own."""
    server: RedisServer = request.getfixturevalue("redis_server")
    return partial(RedisStore, server.url, prefix=uuid.uuid4().hex)


KINDS: dict[str, Callable[[pytest.FixtureRequest], MakeStore]] = {
    "memory": lambda request: MemoryStore,
    "own": lambda request: partial(MappingStore, {}),
    "sqlite": make_sqlite_store,
    "redis": make_redis_store,
    "fakeredis": lambda request: partial(RedisStore, FakeRedis()),
}

LINKED = ["memory", "sqlite", "redis", "fakeredis"]
"""Those whose queues can be the outbox and the inbox of a connection."""


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, which the tests share; they are skipped where there is none."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=list(KINDS))
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Make a store of one kind, with options; at the end it is closed."""
    make = KINDS[request.param](request)
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
