"""`OWLSOCKET_OUTBOX` and `OWLSOCKET_INBOX`: what a setting may be, and sites of several workers that share a queue."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.stores import Queue, SqliteStore
from support.browsers import THREADS, gunicorn
from support.child_processes import APPS, environment
from support.helpers import eventually
from support.queue_sites import backend, check_orders, check_worker, payloads, queue_url
from support.sockets import free_port
from support.variants import kinds

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def site(**config: Any) -> tuple[Flask, OwlSocket]:
    """Return an app with a configuration, and its extension."""
    app = Flask("shop")
    app.config.update({f"OWLSOCKET_{name}": value for name, value in config.items()})
    return app, OwlSocket(app)


def test_a_view_puts_messages_while_the_server_is_away(tmp_path: Path) -> None:
    """They are in the file at once; when the server is there, it gets them, in order, and once."""
    port = free_port()
    url = queue_url(tmp_path, "to-server")
    app, owl = site(URL=f"ws://127.0.0.1:{port}", OUTBOX=url, TIMEOUT=0.2, RECONNECT={"initial": 0.05, "cap": 0.05})
    with app.app_context():
        owl.enqueue("first", id="o-1")
        with pytest.raises(TimeoutError):
            owl.call("anything", timeout=0.1)
        owl.enqueue("second")
        with SqliteStore(tmp_path / "site.db") as store:
            assert [message.payload for message in store.queue("to-server").peek()] == ["first", "second"]
        with backend(tmp_path, port) as (_, server_store):
            # The connection was begun by the first message, and no use is needed any more.
            assert payloads(server_store.queue("orders"), 2) == ["first", "second"]
            owl.connection.flush(10)
            owl.close()


def test_each_service_has_its_own(tmp_path: Path) -> None:
    """A queue, a callable, the import path of one, or a URL."""
    with SqliteStore(tmp_path / "other.db") as store, backend(tmp_path) as (server, server_store):
        app, owl = site(
            URL=server.url,
            OUTBOX=store.queue("first"),
            SERVICES={"stock": {"URL": server.url, "OUTBOX": lambda: store.queue("second")}},
        )
        with app.app_context():
            owl.enqueue(1)
            owl["stock"].enqueue(2)
            assert sorted(payloads(server_store.queue("orders"), 2)) == [1, 2]
            owl.close()
        eventually(lambda: store.queues() == ["first", "second"])


def give_text() -> str:
    """Return no queue."""
    return "none"


HERE = f"{__name__}:give_text"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("queue.db", "OWLSOCKET_OUTBOX is invalid: the URL of a queue begins with sqlite:/// or redis://"),
        ("sqlite:///queue.db", "the URL names no queue: add ?queue=NAME"),
        ("sqlite:////nowhere/at/all/queue.db?queue=a", "/nowhere/at/all is not a folder"),
        ("sqlite:///queue.db?queue=a&sync=full", "unknown option 'sync' of a store in a file; known: busy_timeout"),
        (7, "needed is a queue of a store, its URL, or a callable that returns it, not int"),
        (HERE, "not a callable that returned str"),
        ("no_such_module:queue", "OWLSOCKET_OUTBOX cannot be imported"),
    ],
)
def test_a_wrong_value_names_its_setting(value: object, says: str) -> None:
    """Before anything connects."""
    app, owl = site(URL="ws://127.0.0.1:1", OUTBOX=value)
    with app.app_context(), pytest.raises(ConfigError, match="OWLSOCKET_OUTBOX") as caught:
        owl.enqueue(1)
    assert says in str(caught.value)


@pytest.mark.parametrize("verb", ["enqueue", "call"])
def test_one_queue_for_both_directions_names_both_settings(tmp_path: Path, verb: str) -> None:
    """At the first use, whichever it is; two queues of one file are fine."""
    url = queue_url(tmp_path, "orders")
    app, owl = site(URL="ws://127.0.0.1:1", OUTBOX=url, INBOX=url)
    with app.app_context(), pytest.raises(ConfigError) as caught:
        getattr(owl, verb)("order")
    assert "OWLSOCKET_OUTBOX and OWLSOCKET_INBOX are one queue, 'orders'" in str(caught.value)


def test_a_fake_peer_sees_what_is_put(tmp_path: Path) -> None:
    """Tests write into no store: neither with a fake peer, nor with a server of their own."""
    app, owl = site(URL="ws://127.0.0.1:1", OUTBOX=queue_url(tmp_path, "out"), INBOX=queue_url(tmp_path, "in"))
    with app.app_context():
        with owl.fake_peer() as peer:
            owl.enqueue({"order": 7})
            assert peer.enqueued == [{"order": 7}]
        with owl.test_server() as server:
            owl.enqueue(8)
            eventually(lambda: bool(server.connections))
            (conn,) = server.connections
            message = conn.consume(timeout=10)
            assert message is not None
            assert message.payload == 8
            conn.enqueue("answer")
            answer = owl.consume(timeout=10)
            assert answer.payload == "answer"
    assert list(tmp_path.iterdir()) == []


SITES = {
    "sync": ("flask_queues:create_app()", 0),
    "threads, preloaded, which puts as well": (f"--threads {THREADS} --preload flask_queues:eager()", 1),
}


@FORKS
@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", kinds(SITES, "threads, preloaded, which puts as well"))
def test_views_of_all_workers_put_into_one_outbox(tmp_path: Path, name: str) -> None:
    """Nothing is lost or doubled, also when workers are killed, the one that sends among them."""
    options, loaded = SITES[name]
    with backend(tmp_path) as (server, store):
        env = environment("", OWLSOCKET_URL=server.url, OUTBOX=queue_url(tmp_path, "to-server"))
        with gunicorn(options, env) as pages:
            check_orders(pages, store.queue("orders"), loaded)


@FORKS
@pytest.mark.slow
@pytest.mark.stress
def test_a_worker_takes_the_messages_of_the_inbox(tmp_path: Path) -> None:
    """They wait in its file for its successor, if it is killed."""
    with backend(tmp_path) as (server, store):
        answers: Queue = store.queue("answers")
        env = environment("", OWLSOCKET_URL=server.url, INBOX=queue_url(tmp_path, "from-server"))
        check_worker([sys.executable, str(APPS / "flask_queues.py")], env, answers)
