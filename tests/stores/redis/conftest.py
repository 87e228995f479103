"""A Redis of one test, with a store and a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.stores import RedisStore
from support.redis_servers import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that keeps nothing."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisStore]:
    """A store in it."""
    with RedisStore(server.url) as store:
        yield store


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    """A client of it."""
    with server.client() as client:
        yield client
