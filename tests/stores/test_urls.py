"""Queues by URL: one store for each place of a process, and errors that say how a URL is written."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import StoreFull
from owlsocket_sync.hub import SqliteHub
from owlsocket_sync.stores import Queue, SqliteStore, Store, open_queue
from owlsocket_sync.stores.urls import as_queue, parse_store
from support.redis_servers import RedisServer


def test_queues_of_one_file_share_one_store(tmp_path: Path) -> None:
    """Whichever way the file is named: its limits and its connections are there once."""
    first = open_queue(f"sqlite:///{tmp_path}/a/../queue.db?queue=first")
    again = open_queue(f"sqlite:///{tmp_path}/queue.db?queue=first")
    other = open_queue(f"sqlite:///{tmp_path}/queue.db?queue=to%20server")
    first.put(1)
    other.put(2)
    assert [message.payload for message in again.messages(timeout=0)] == [1]
    del first, again, other
    gc.collect()
    with SqliteStore(tmp_path / "queue.db") as store:
        assert store.queues() == ["first", "to server"]


def test_a_relative_path_is_of_the_folder_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes, as in the URLs of other libraries."""
    monkeypatch.chdir(tmp_path)
    open_queue("sqlite:///queue.db?queue=a").put(1)
    assert (tmp_path / "queue.db").exists()


def test_options_of_the_store_follow(tmp_path: Path) -> None:
    """They are those of the store, and the same for all queues of it."""
    url = f"sqlite:///{tmp_path}/queue.db?queue=a&synchronous=normal&max_messages=1&busy_timeout=2.5&on_corrupt=quarantine"
    place = parse_store(url)
    assert place.options == {
        "synchronous": "normal",
        "max_messages": 1,
        "busy_timeout": 2.5,
        "on_corrupt": "quarantine",
    }
    queue = open_queue(url)
    queue.put(1)
    with pytest.raises(StoreFull, match="max_messages=1"):
        queue.put(2)
    with pytest.raises(ValueError, match="is open with other options"):
        open_queue(f"sqlite:///{tmp_path}/queue.db?queue=b")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_uses_the_same_url(tmp_path: Path) -> None:
    """With connections of its own, as with any store."""
    url = f"sqlite:///{tmp_path}/queue.db?queue=a"
    queue = open_queue(url)
    queue.put("parent")
    child = os.fork()
    if child == 0:
        try:
            open_queue(url).put("child")
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert [message.payload for message in queue.peek()] == ["parent", "child"]


def test_a_queue_is_given_in_three_ways(tmp_path: Path) -> None:
    """As itself, as its URL, and by a callable that returns either the one or the other."""
    url = f"sqlite:///{tmp_path}/queue.db?queue=a"
    queue = open_queue(url)
    ways: list[object] = [queue, url, lambda: queue, lambda: open_queue(url)]
    assert [as_queue(way).name for way in ways] == ["a"] * 4


NOTHING: Callable[[], None] = lambda: None  # noqa: E731


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("orders", "begins with sqlite:/// or redis://, such as 'sqlite:////var/lib/shop/queue.db"),
        ("sqlite:///queue.db", "the URL names no queue: add ?queue=NAME"),
        ("sqlite:///queue.db?queue=", "the URL names no queue"),
        ("sqlite://queue.db?queue=a", "sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///?queue=a", "sqlite:///relative.db or sqlite:////absolute.db"),
        ("sqlite:///queue.db?queue=a#b", "write # as %23"),
        ("sqlite:///queue.db?queue=a&sync=1", "unknown option 'sync' of a store in a file; known: busy_timeout, max_"),
        ("sqlite:///queue.db?queue=a&max_bytes=1k", "option 'max_bytes' of a store: invalid literal"),
        ("sqlite:///queue.db?queue=a&synchronous=off", "'synchronous' of a store: 'off' is none of full, normal"),
        ("redis://h/0?queue=a&replicas=x", "option 'replicas' of a store"),
        (NOTHING, "not a callable that returned NoneType"),
        (7, "not int"),
    ],
)
def test_a_wrong_value_is_explained(value: object, says: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ValueError, match=r"queue|store|sqlite") as caught:
        as_queue(value)
    assert says in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, b"sqlite:///queue.db?queue=a"])
def test_what_is_no_text_is_a_mistake_of_type(value: Any) -> None:
    """Which says what is taken."""
    name = type(value).__name__
    with pytest.raises(TypeError, match=f"a queue is named by a URL, a str such as 'sqlite:.*, not by {name}"):
        open_queue(value)


@pytest.mark.parametrize("make", [SqliteStore, SqliteHub])
def test_a_file_is_given_by_its_path(make: Any) -> None:
    """The mistake names the class, and what it takes."""
    with pytest.raises(TypeError, match=f"{make.__name__} takes the path of a file, a str or an os.PathLike, not int"):
        make(5)


def test_a_redis_is_one_too(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own options stay in the URL, and its password is shown nowhere."""
    shared: dict[tuple[str, str], tuple[object, Store]] = {}
    monkeypatch.setattr("owlsocket_sync.stores.urls._shared", shared)
    url = f"{redis_server.url}?queue=a&prefix=shop&socket_timeout=4"
    queue: Queue = open_queue(url)
    queue.put(1)
    assert len(open_queue(url)) == 1
    ((_, store),) = shared.values()
    store.close()
    place = parse_store("redis://:hunter2@localhost:6379/0?queue=a&prefix=shop&client_name=owl")
    assert (place.where, place.options) == ("redis://:hunter2@localhost:6379/0?client_name=owl", {"prefix": "shop"})
    assert "hunter2" not in f"{place} {place.shown}"
    assert parse_store("unix:///run/redis.sock?db=1&queue=a").where == "unix:///run/redis.sock?db=1"
