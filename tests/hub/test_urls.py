"""Hubs by URL: which class, which place, and which options; what is no hub is refused without its secrets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import StoreError
from owlsocket_sync.hub import RedisHub, SqliteHub, open_hub
from owlsocket_sync.hub.urls import parse_hub
from owlsocket_sync.stores import open_queue


def test_a_file_is_named_by_its_path_or_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative ones belong to the folder at that time; nothing is made before the first use."""
    monkeypatch.chdir(tmp_path)
    absolute = str(tmp_path / "a hub.db")
    for url in (absolute, "a hub.db", "sqlite:///a hub.db", "sqlite:///a%20hub.db", f"sqlite:///{absolute}"):
        with open_hub(url) as hub:
            assert isinstance(hub, SqliteHub)
            assert absolute in repr(hub)
    assert os.listdir(tmp_path) == []


def test_a_path_may_be_a_path_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the standard library, or any other; its name is one of a file, whatever is in it."""
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "y.db", Path("y.db")):
        with open_hub(path) as hub:
            assert isinstance(hub, SqliteHub)
            assert str(tmp_path / "y.db") in repr(hub)
    assert parse_hub(Path("a?maxlen=5#")).where == str(tmp_path / "a?maxlen=5#")


@pytest.mark.parametrize("value", [None, 5, b"hub.db"])
def test_what_is_neither_a_url_nor_a_path_is_a_mistake_of_type(value: Any) -> None:
    """Which says what is taken."""
    name = type(value).__name__
    with pytest.raises(TypeError, match=f"a hub is named by a URL or a path, a str or an os.PathLike, not by {name}"):
        open_hub(value)


def test_options_are_those_of_the_hub(tmp_path: Path) -> None:
    """A wrong one is named."""
    url = f"sqlite:///{tmp_path / 'hub.db'}"
    with open_hub(f"{url}?maxlen=5&busy_timeout=1.5") as hub:
        assert isinstance(hub, SqliteHub)
        file = hub._sqlite_bus._file
        assert (file._maxlen, file._database.turn.timeout) == (5, 1.5)
    for query, match in (("maxlen=x", "maxlen"), ("maxlen=0", "maxlen"), ("prefix=x", "unknown option 'prefix'")):
        with pytest.raises(ValueError, match=match):
            open_hub(f"{url}?{query}")


@pytest.mark.parametrize(
    "url",
    ["", "http://user:secret@host", "sqlite://host/hub.db", "sqlite:", "sqlite:///", "sqlite:///a#b", "memory://"],
)
def test_what_names_no_hub_is_refused(url: str) -> None:
    """The message has no secret."""
    with pytest.raises(ValueError, match=r"sqlite:///|# as %23") as caught:
        open_hub(url)
    assert "secret" not in str(caught.value)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """No hub makes one."""
    with pytest.raises(StoreError, match="is not a folder"):
        open_hub(str(tmp_path / "missing" / "hub.db"))


@pytest.mark.parametrize(
    "url", ["redis://host/0", "rediss://host", "unix:///run/redis.sock", "redis+sentinel://a,b/0/x"]
)
def test_a_redis_is_named_by_its_url(url: str) -> None:
    """Options of the hub are taken out of it; what is left is for the client, which connects at the first use."""
    assert parse_hub(url).is_redis
    with open_hub(f"{url}?prefix=owls&maxlen=7&heartbeat=0.5") as hub:
        assert isinstance(hub, RedisHub)
        bus = hub._redis_bus
        assert (bus._prefix, bus._settings) == ("{owls:hub}:", (7, 500))
    with pytest.raises(ValueError, match="option 'heartbeat' of a hub"):
        open_hub(f"{url}?heartbeat=often")


def test_what_is_left_of_a_url_reaches_the_client() -> None:
    """Such as the number of a database."""
    with open_hub("redis://host?maxlen=7&db=3") as hub:
        assert isinstance(hub, RedisHub)
        assert hub._redis_bus._link.client.connection_pool.connection_kwargs["db"] == 3


@pytest.mark.parametrize("url", ["redis://:secret@host/0", "rediss://host", "unix:///r.sock", "redis+sentinel://a/0/x"])
def test_an_unknown_option_of_a_redis_is_named(url: str) -> None:
    """At once, and not by the first use, in the words of the client of Redis."""
    match = r"unknown option 'prefx' in the URL of a Redis: "
    for open_url in (open_hub, open_queue):
        with pytest.raises(ValueError, match=match) as caught:
            open_url(f"{url}?queue=jobs&prefx=hidden" if open_url is open_queue else f"{url}?prefx=hidden&maxlen=7")
        assert "secret" not in str(caught.value)
        assert "hidden" not in str(caught.value)


def test_a_value_that_is_not_usable_is_no_unknown_option() -> None:
    """It is not shown: it may be a secret."""
    with pytest.raises(ValueError, match="not a URL of Redis") as caught:
        open_hub("redis://host?socket_timeout=hidden")
    assert "hidden" not in str(caught.value)
