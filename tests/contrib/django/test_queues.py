"""``OUTBOX`` and ``INBOX`` of ``OWLSOCKET``: views that put messages, and workers that take them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support import django_project

django_project.set_up()

from django.core.exceptions import ImproperlyConfigured  # noqa: E402

from owlsocket_sync.contrib.django import client, clients  # noqa: E402
from owlsocket_sync.stores import SqliteStore, open_queue  # noqa: E402
from support.browsers import THREADS, gunicorn  # noqa: E402
from support.django_project import PROJECT, environment, owlsocket  # noqa: E402
from support.queue_sites import backend, check_orders, check_worker, payloads, queue_url  # noqa: E402
from support.sockets import free_port  # noqa: E402
from support.variants import kinds  # noqa: E402

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
RECONNECT = {"OPTIONS": {"timeout": 0.2}}


def test_a_view_puts_messages_while_the_server_is_away(tmp_path: Path) -> None:
    """They are in the file at once; when the server is there, it gets them, in order, and once."""
    port = free_port()
    with owlsocket(default={"URL": f"ws://127.0.0.1:{port}", "OUTBOX": queue_url(tmp_path, "to-server"), **RECONNECT}):
        client.enqueue("first", id="o-1")
        client.enqueue("second")
        with SqliteStore(tmp_path / "site.db") as store:
            assert [message.payload for message in store.queue("to-server").peek()] == ["first", "second"]
        with backend(tmp_path, port) as (_, server_store):
            assert payloads(server_store.queue("orders"), 2) == ["first", "second"]
            client.connection.flush(10)
            client.close()


def test_each_alias_has_its_own(tmp_path: Path) -> None:
    """A queue, or a callable that returns one."""
    first, second = (open_queue(queue_url(tmp_path, name)) for name in ("first", "second"))
    with backend(tmp_path) as (server, server_store):
        entries = {"URL": server.url, "OUTBOX": first}, {"URL": server.url, "OUTBOX": lambda: second, "INBOX": first}
        with owlsocket(default=entries[0], stock=entries[1]):
            clients["default"].enqueue(1)
            clients["stock"].enqueue(2)
            assert sorted(payloads(server_store.queue("orders"), 2)) == [1, 2]


def test_a_store_that_cannot_be_opened_names_its_setting() -> None:
    """At the first use, as it may be made after the checks."""
    entry = {"URL": "ws://127.0.0.1:1", "OUTBOX": "sqlite:////nowhere/at/all/queue.db?queue=a"}
    with (
        owlsocket(default=entry),
        pytest.raises(ImproperlyConfigured, match=r"OWLSOCKET\['default'\]\['OUTBOX'\] is invalid: /nowhere/at/all is"),
    ):
        client.enqueue(1)


def test_one_queue_for_both_directions_names_both_settings(tmp_path: Path) -> None:
    """Where callables return it, which the checks do not call: at the first use."""
    queue = open_queue(queue_url(tmp_path, "orders"))
    entry = {"URL": "ws://127.0.0.1:1", "OUTBOX": lambda: queue, "INBOX": lambda: queue}
    with owlsocket(default=entry), pytest.raises(ImproperlyConfigured) as caught:
        client.enqueue(1)
    assert "['OUTBOX'] and OWLSOCKET['default']['INBOX'] are one queue, 'orders'" in str(caught.value)


SITES = {
    "sync": ("contrib.project.wsgi:application", 0),
    "threads, preloaded, which puts as well": (f"--threads {THREADS} --preload contrib.project.wsgi:loaded()", 1),
}


@FORKS
@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", kinds(SITES, "sync"))
def test_views_of_all_workers_put_into_one_outbox(tmp_path: Path, name: str) -> None:
    """Nothing is lost or doubled, also when workers are killed, the one that sends among them."""
    options, loaded = SITES[name]
    with backend(tmp_path) as (server, store):
        more = {"OWLSOCKET_URL": server.url, "OUTBOX": queue_url(tmp_path, "to-server"), "PYTHONWARNINGS": ""}
        with gunicorn(options, environment(**more), "put") as pages:
            check_orders(pages, store.queue("orders"), loaded)


@FORKS
@pytest.mark.slow
@pytest.mark.stress
def test_a_worker_takes_the_messages_of_the_inbox(tmp_path: Path) -> None:
    """They wait in its file for its successor, if it is killed."""
    with backend(tmp_path) as (server, store):
        env = environment(OWLSOCKET_URL=server.url, INBOX=queue_url(tmp_path, "from-server"), PYTHONWARNINGS="")
        check_worker([sys.executable, str(PROJECT / "worker.py")], env, store.queue("answers"))
