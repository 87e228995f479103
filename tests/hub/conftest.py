"""The hubs that have to keep the contract: each kind of bus, with as many nodes as a test makes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from owlsocket_sync.hub import Hub, MemoryBus, MemorySpace, RedisHub, SqliteHub
from support.redis_servers import RedisServer
from support.seats import FakeServer

MakeHub = Callable[[], Hub]


def make_memory_hub(request: pytest.FixtureRequest) -> MakeHub:
    """Make nodes that share a space."""
    space = MemorySpace()
    return lambda: Hub(MemoryBus(space))


def make_redis_hub(request: pytest.FixtureRequest) -> MakeHub:
    """Make nodes in the Redis of this run, with keys of their own."""
    server: RedisServer = request.getfixturevalue("redis_server")
    prefix = uuid.uuid4().hex
    return lambda: RedisHub(server.url, prefix=prefix)


def make_sqlite_hub(request: pytest.FixtureRequest) -> MakeHub:
    """Make nodes in a file of this test."""
    folder: Path = request.getfixturevalue("tmp_path")
    return lambda: SqliteHub(folder / "hub.db")


KINDS: dict[str, Callable[[pytest.FixtureRequest], MakeHub]] = {
    "memory": make_memory_hub,
    "sqlite": make_sqlite_hub,
    "redis": make_redis_hub,
}
"""By the name of a bus: it is called once for each test, and returns what makes another node of the same hub."""


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real Redis, which the tests share; they are skipped where there is none."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=list(KINDS))
def make_hub(request: pytest.FixtureRequest) -> Iterator[MakeHub]:
    """Make another node of one hub, as another process has it; at the end all of them are closed."""
    make = KINDS[request.param](request)
    hubs: list[Hub] = []

    def keep() -> Hub:
        hubs.append(make())
        return hubs[-1]

    yield keep
    for hub in hubs:
        hub.close()


@pytest.fixture
def hub(make_hub: MakeHub) -> Hub:
    """A hub of one node."""
    return make_hub()


@pytest.fixture
def hubs(make_hub: MakeHub) -> tuple[Hub, Hub]:
    """Two nodes of one hub."""
    return make_hub(), make_hub()


@pytest.fixture
def server(hub: Hub) -> FakeServer:
    """A server of the hub of one node."""
    return FakeServer(hub)
