"""A Redis of one test, and nodes of a hub in it whose heartbeats are short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.hub import RedisHub
from support.redis_hubs import HEARTBEAT
from support.redis_servers import RedisServer

MakeRedisHub = Callable[..., RedisHub]


@pytest.fixture
def fsync() -> str | None:
    """How often Redis writes its log; ``None`` for never."""
    return None


@pytest.fixture
def redis_server(tmp_path: Path, fsync: str | None) -> Iterator[RedisServer]:
    """A Redis of this test, which may kill it."""
    with RedisServer(tmp_path, fsync) as server:
        yield server


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """A client of it."""
    with redis_server.client() as client:
        yield client


@pytest.fixture
def make_node(redis_server: RedisServer) -> Iterator[MakeRedisHub]:
    """Make another node of one hub."""
    hubs: list[RedisHub] = []

    def make(url: str = redis_server.url, **options: Any) -> RedisHub:
        hubs.append(RedisHub(url, **{"heartbeat": HEARTBEAT, **options}))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()
