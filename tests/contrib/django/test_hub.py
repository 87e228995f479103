"""``HUB`` of ``OWLSOCKET``: views publish to the clients of all servers of a hub, when their transaction commits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support import django_project

django_project.set_up()

from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402

from owlsocket_sync import Connection, SocketMessageMalformed, connect  # noqa: E402
from owlsocket_sync.contrib.django import client, clients, hub  # noqa: E402
from owlsocket_sync.hub import MemoryHub, open_hub  # noqa: E402
from owlsocket_sync.server import Request, serve  # noqa: E402
from support.child_processes import Child  # noqa: E402
from support.django_project import environment, owlsocket  # noqa: E402
from support.helpers import Collector  # noqa: E402

URL = "ws://127.0.0.1:1"
PUBLISH = """
import django
django.setup()
from owlsocket_sync.contrib.django import hub
hub.publish("tick", "from a task")
"""


def listen_only(conn: Connection, request: Request) -> None:
    """Serve a client that only listens."""


def test_what_is_published_arrives_after_the_commit(tmp_path: Path) -> None:
    """Never after a rollback; and from a process without a server as well."""
    url = f"sqlite:///{tmp_path}/hub.db"
    with (
        owlsocket(default={"URL": URL, "HUB": url}),
        open_hub(url) as servers,
        serve(lambda conn, request: None, hub=servers) as server,
        connect(server.url) as conn,
    ):
        seen = Collector()
        conn.observe("tick", lambda message: seen(message.payload))
        conn.ping()
        payload = {"order": 1}
        with transaction.atomic():
            client.publish_on_commit("tick", payload)
            payload["order"] = 2
            hub.publish("tick", "at once")
            assert seen.wait(1, 10) == ["at once"]
        assert seen.wait(2, 10)[1:] == [{"order": 1}]
        with transaction.atomic():
            client.publish_on_commit("tick", "never")
            transaction.set_rollback(True)
        with pytest.raises(SocketMessageMalformed):
            client.publish_on_commit("tick", object())
        with Child([sys.executable, "-c", PUBLISH], environment(OWLSOCKET_HUB=url)) as child:
            done = child.finish()
        assert (done.code, done.complaints) == (0, "")
        assert seen.wait(3, 10)[2:] == ["from a task"]
        clients["default"].hub.close()


def test_an_alias_without_a_hub_says_so() -> None:
    """And so does one whose hub is not usable."""
    with owlsocket(default={"URL": URL}), pytest.raises(ImproperlyConfigured, match=r"\['HUB'\] is missing"):
        hub.publish("tick")
    entry = {"URL": URL, "HUB": lambda: 7}
    with owlsocket(default=entry), pytest.raises(ImproperlyConfigured, match=r"\['HUB'\] is invalid: needed is a hub"):
        hub.publish("tick")


def test_a_hub_alone_publishes_without_a_url() -> None:
    """Other verbs name the key that they lack, at each use."""
    with MemoryHub() as shared, owlsocket(default={"HUB": shared}), serve(listen_only, hub=shared) as server:
        with connect(server.url) as conn, conn.events("tick", timeout=10) as ticks:
            conn.ping()
            client.publish_on_commit("tick", 1)
            hub.publish("tick", 2)
            assert [next(ticks).payload for _ in range(2)] == [1, 2]
        for use in (
            lambda: client.call("price", 1),
            lambda: client.notify("paid"),
            lambda: client.enqueue(1),
            lambda: client.connection,
            lambda: client.ping(),
            lambda: client.call("price", 1),
            lambda: clients.configuration("default").connect(),
        ):
            with pytest.raises(ImproperlyConfigured, match=r"OWLSOCKET\['default'\]\['URL'\] is missing"):
                use()
        assert client.current is None
        call_command("owlsocket", "check")  # which has nothing to connect to
