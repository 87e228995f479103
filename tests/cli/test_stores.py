"""``owlsocket queue`` on a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from owlsocket_sync.cli import main
from owlsocket_sync.stores import SqliteStore
from support.redis_servers import RedisServer

Run = Callable[..., tuple[int, list[Any], str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``owlsocket queue``: its exit code, what it printed, and its complaint."""

    def run(*arguments: object) -> tuple[int, list[Any], str]:
        code = main(["queue", *map(str, arguments)])
        seen = capfd.readouterr()
        return code, [json.loads(line) for line in seen.out.splitlines()], seen.err

    return run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a store with one queue, of three messages and a dead letter."""
    path = tmp_path / "queue.db"
    with SqliteStore(path) as store:
        queue = store.queue("orders")
        queue.put("bad", id="b")
        delivery = queue.get()
        assert delivery is not None
        delivery.reject("no such dish")
        queue.put_many([1, 2])
        queue.put({"three": 3}, id="o-3")
    return path


def test_a_message_is_pushed_into_a_store_and_pulled_from_it(tmp_path: Path, run: Run) -> None:
    """A store that is not there is made by the first message."""
    path = tmp_path / "new.db"
    code, printed, _ = run("push", path, "orders", '{"order": 7}', "text")
    assert (code, len({line["id"] for line in printed})) == (0, 2)
    assert run("push", path, "orders", "--id", "o-9", "--", "-9") == (0, [{"id": "o-9"}], "")
    code, printed, _ = run("pull", "--limit", 1, path, "orders")
    assert [(line["payload"], line["attempts"]) for line in printed] == [({"order": 7}, 1)]
    code, printed, _ = run("pull", path)
    assert (code, [line["payload"] for line in printed]) == (0, ["text", -9])
    code, printed, complaint = run("pull", path, "orders", "--timeout", "0.01")
    assert (code, printed, complaint) == (4, [], "no message within 0.01 s\n")


def test_a_store_is_looked_into(path: Path, run: Run) -> None:
    """Without a change."""
    code, (state,), _ = run("ls", path)
    assert (code, state.pop("oldest_age") >= 0) == (0, True)
    assert state == {"queue": "orders", "depth": 3, "in_flight": 0, "dead": 1, "bytes": 18}
    code, printed, _ = run("peek", path, "orders", "--limit", 2)
    assert [line["payload"] for line in printed] == [1, 2]
    dead = {"payload": "bad", "id": "b", "attempts": 1, "reason": "no such dish"}
    assert run("dead", path) == (0, [dead], "")
    assert run("ls", path)[1][0]["depth"] == 3


def test_dead_letters_are_put_back_and_messages_deleted(path: Path, run: Run) -> None:
    """All of them, or those with an id."""
    assert run("requeue", path, "--id", "other")[:2] == (2, [{"requeued": 0}])
    assert run("requeue", path, "orders", "--id", "b") == (0, [{"requeued": 1}], "")
    assert run("dead", path) == (0, [], "")
    assert run("purge", path, "--dead") == (0, [{"purged": 0}], "")
    assert run("purge", path) == (0, [{"purged": 4}], "")


def test_a_file_is_a_store_by_its_content(path: Path, tmp_path: Path, run: Run) -> None:
    """Whatever its name; what is no store is taken for a URL."""
    other = path.rename(tmp_path / "orders")
    assert run("pull", other, "--limit", 1)[1][0]["payload"] == 1
    code, _, complaint = run("pull", tmp_path / "missing")
    assert (code, "ws://" in complaint) == (2, True)
    assert run("push", "ws://x")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ls", "{}/missing.db"], "there is no such store"),
        (["peek", "{}/queue.db", "lost"], "has no queue 'lost'; it has these: orders"),
        (["ls", "ws://127.0.0.1:1"], "ls is for stores"),
        (["push", "{}/orders", "orders", "1"], "or name a store, whose name ends with .db or .sqlite"),
        (["pull", "orders"], "or name a store, whose name ends with .db or .sqlite"),
        (["push", "{}/queue.db"], "NAME is missing before the PAYLOAD"),
        (["push", "{}/queue.db", "orders"], "PAYLOAD is missing: the arguments are STORE NAME PAYLOAD"),
        (["push", "{}/queue.db", "orders", "1", "2", "--id", "a"], "--id is for one PAYLOAD only"),
        (["pull", "{}/queue.db", "--limit", "0"], "--limit"),
    ],
)
def test_a_mistake_is_exit_code_2(path: Path, run: Run, arguments: list[str], words: str) -> None:
    """In one line, and nothing is made or changed."""
    code, printed, complaint = run(*(argument.format(path.parent) for argument in arguments))
    assert (code, printed, words in complaint) == (2, [], True), complaint
    assert not (path.parent / "missing.db").exists()


@pytest.mark.parametrize("name", ['{"dish": 1}', "[1]", "7", "-1.5"])
@pytest.mark.parametrize("payloads", [[], ["2"]])
@pytest.mark.parametrize("file", ["queue.db", "new.db"])
def test_a_payload_is_no_name_of_a_queue(path: Path, run: Run, name: str, payloads: list[str], file: str) -> None:
    """Who forgets NAME makes no queue, and no file; a queue that has such a name can be used."""
    code, printed, complaint = run("push", path.parent / file, "--", name, *payloads)
    assert (code, printed) == (2, [])
    assert f"NAME is missing before {name}: the arguments are STORE NAME PAYLOAD" in complaint
    assert not (path.parent / "new.db").exists()
    with SqliteStore(path) as store:
        assert store.queues() == ["orders"]
        store.queue(name).put(1)
    assert run("push", path, "--", name, "2")[0] == 0


@pytest.mark.parametrize("name", ["true", "null", '"orders"', "{orders", "7up"])
def test_other_names_are_names(path: Path, run: Run, name: str) -> None:
    """Whatever else they may mean."""
    assert run("push", path, name, "2")[0] == 0
    assert run("pull", path, name)[1][0]["payload"] == 2


def test_one_of_several_queues_has_to_be_named(path: Path, run: Run) -> None:
    """The complaint lists them."""
    with SqliteStore(path) as store:
        store.queue("bills").put(1)
    assert "these queues: bills, orders" in run("purge", path)[2]
    assert [line["queue"] for line in run("ls", path)[1]] == ["bills", "orders"]


def test_a_damaged_store_is_an_error(path: Path, run: Run) -> None:
    """With exit code 1."""
    path.write_bytes(b"SQLite format 3\0" + b"\xa5" * 8000)
    code, printed, complaint = run("ls", path)
    assert (code, printed, "queue.db is damaged" in complaint) == (1, [], True)


def test_a_store_is_named_as_in_settings(path: Path, run: Run) -> None:
    """By a URL, which may name the queue as well."""
    url = f"sqlite:///{path}?queue=orders&synchronous=normal"
    assert run("peek", url, "--limit", 1)[:2] == (0, [{"payload": 1, "id": ANY}])
    assert run("pull", url, "--limit", 1)[0] == 0
    assert run("push", f"sqlite:///{path}", "orders", "5")[0] == 0
    code, _, complaint = run("ls", f"sqlite:///{path}?sync=full")
    assert (code, "unknown option 'sync' of a store" in complaint) == (2, True)


def test_a_redis_is_a_store_as_well(run: Run, tmp_path: Path) -> None:
    """By its URL, whose password is shown nowhere."""
    with RedisServer(tmp_path) as server:
        assert run("push", server.url, "orders", '{"order": 7}', "--id", "o-7") == (0, [{"id": "o-7"}], "")
        assert run("ls", server.url)[1][0]["depth"] == 1
        assert run("peek", server.url, "orders")[1] == [{"payload": {"order": 7}, "id": "o-7"}]
        secret = server.url.replace("redis://", "redis://:hunter2@")
        code, _, complaint = run("peek", secret, "others")
        assert code != 0
        assert complaint
        assert "hunter2" not in complaint
        code, printed, _ = run("pull", server.url)
        assert (code, printed[0]["attempts"]) == (0, 1)
        code, _, complaint = run("peek", server.url, "others")
        assert code == 2
        assert "it has these: orders" in complaint
    code, _, complaint = run("ls", "redis://localhost:port")
    assert code == 2
    assert "not a URL of Redis" in complaint
