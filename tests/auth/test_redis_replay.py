"""One-time tokens in a Redis: each is accepted once by all processes, also where an answer is lost."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.auth import Authority, Guard, KeyPair, RedisReplayStore, StageLogin, redis_replay
from owlsocket_sync.client import connect
from owlsocket_sync.errors import AuthError
from owlsocket_sync.server import serve
from owlsocket_sync.testing import FaultProxy
from support.child_processes import Child, environment
from support.handlers import echo
from support.helpers import scaled
from support.linked import aside
from support.redis_servers import RedisServer
from support.seats import run_together

USE = """
import signal, sys
from owlsocket_sync.auth import RedisReplayStore
store = RedisReplayStore(sys.argv[1])
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("ready", flush=True)
signal.sigwait({signal.SIGUSR1})
print(sum(store.use_once(f"token {number}", float(sys.argv[2])) for number in range(300)), flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def store(server: RedisServer) -> Iterator[RedisReplayStore]:
    """A store in it."""
    with RedisReplayStore(server.url) as store:
        yield store


def test_a_key_is_accepted_once(server: RedisServer, store: RedisReplayStore) -> None:
    """It is kept until it has expired, and a little longer, in the form that OwlMeans services use."""
    expires_at = time.time() + 100
    assert [store.use_once("a", expires_at) for _ in range(3)] == [True, False, False]
    assert store.use_once("b", time.time() - 5)
    with server.client() as client:
        assert json.loads(client.get("owlsocket-auth_cache:a"))["id"] == "a"
        assert 150 < client.ttl("owlsocket-auth_cache:a") <= 161


@pytest.mark.slow
def test_two_processes_accept_each_token_once(server: RedisServer, store: RedisReplayStore) -> None:
    """However they race."""
    expires_at = time.time() + 100
    command = [sys.executable, "-c", USE, server.url, str(expires_at)]
    with Child(command, environment()) as first, Child(command, environment()) as second:
        assert [child.line() for child in (first, second)] == ["ready", "ready"]
        for child in (first, second):
            child.send(signal.SIGUSR1)
        assert sum(int(child.line()) for child in (first, second)) == 300


def test_threads_accept_each_token_once(store: RedisReplayStore) -> None:
    """However many."""
    won: list[int] = []

    def use() -> None:
        won.extend(number for number in range(100) if store.use_once(str(number), time.time() + 100))

    run_together(use, use, use)
    assert sorted(won) == list(range(100))


def test_a_use_whose_answer_is_lost_is_the_first_one(server: RedisServer) -> None:
    """Redis has recorded it, and is asked again."""
    with (
        FaultProxy("127.0.0.1", server.port) as proxy,
        RedisReplayStore(f"redis://127.0.0.1:{proxy.port}/0") as store,
        server.client() as client,
    ):
        assert store.use_once("a", time.time() + 100)
        proxy.blackhole(direction="downstream")
        using = aside(partial(store.use_once, "b", time.time() + 100))
        while not client.exists("owlsocket-auth_cache:b"):
            pass
        proxy.reset()
        proxy.blackhole(False)
        assert using.wait(1) == [True]
        assert not store.use_once("b", time.time() + 100)


def test_without_redis_no_token_is_accepted(
    server: RedisServer, store: RedisReplayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor with one that is full; the error shows no secret."""
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(AuthError, match=r"cannot be checked now.*maxmemory"):
            store.use_once("a", time.time() + 100)
    monkeypatch.setattr(redis_replay, "PATIENCE", 0.2)
    server.kill()
    began = time.monotonic()
    for url in (server.url, server.url.replace("redis://", "redis://me:hunter2@")):
        with RedisReplayStore(url) as other, pytest.raises(AuthError, match="cannot be checked now") as caught:
            other.use_once("a", time.time() + 100)
        assert "hunter2" not in str(caught.value) + repr(other)
    assert time.monotonic() - began < scaled(2)  # a client waits for it
    store.close()
    with pytest.raises(AuthError, match="is closed"):
        store.use_once("a", time.time() + 100)


def test_a_guard_takes_it(server: RedisServer, store: RedisReplayStore) -> None:
    """A login spends its challenge and its token in Redis."""
    key = KeyPair.generate()
    guard = Guard(authority=Authority(KeyPair.generate(), users=[key.public], replay_store=store), required=False)
    with serve(echo, authenticate=guard) as serving, connect(serving.url, auth=StageLogin(key)) as conn:
        assert conn.call("echo", 1) == 1
    with server.client() as client:
        assert len(client.keys("owlsocket-auth_cache:*")) == 2


@pytest.mark.parametrize("options", [{"prefix": ""}, {"prefix": 3}, {"url_or_client": 7}, {"url_or_client": "x://"}])
def test_a_wrong_option_is_refused_at_once(options: dict[str, Any]) -> None:
    """Before anything is connected."""
    with pytest.raises((ValueError, TypeError)):
        RedisReplayStore(**{"url_or_client": "redis://localhost", **options})
