"""`OWLSOCKET_HUB`: the clients of all routes and workers are in one hub, to which views and other processes publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from owlsocket_sync import connect
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.server import serve
from support.child_processes import Child, environment
from support.helpers import Collector

PUBLISH = """
import sys
from flask import Flask
from owlsocket_sync.contrib.flask import OwlSocket
app = Flask("worker")
app.config["OWLSOCKET_HUB"] = sys.argv[1]
owl = OwlSocket(app)
with app.app_context():
    owl.hub.publish("tick", "from a worker")
"""


def site(**config: Any) -> tuple[Flask, OwlSocket]:
    """Return an app with a configuration, and its extension."""
    app = Flask("shop")
    app.config.update({f"OWLSOCKET_{name}": value for name, value in config.items()})
    return app, OwlSocket(app)


def test_views_and_workers_publish_to_the_clients_of_a_server(tmp_path: Path) -> None:
    """A view of the app, and a process without a server."""
    url = f"sqlite:///{tmp_path}/hub.db"
    app, owl = site(HUB=url)
    other, server_owl = site(HUB=url)

    @app.post("/tick")
    def tick() -> str:
        owl.hub.publish("tick", "from a view")
        return ""

    with other.app_context():
        hub = server_owl.hub
    with serve(lambda conn, request: None, hub=hub) as server, connect(server.url) as conn:
        seen = Collector()
        conn.observe("tick", lambda message: seen(message.payload))
        conn.ping()
        assert app.test_client().post("/tick").status_code == 200
        assert seen.wait(1, 10) == ["from a view"]
        with Child([sys.executable, "-c", PUBLISH, url], environment()) as child:
            done = child.finish()
        assert (done.code, done.complaints) == (0, "")
        assert seen.wait(2, 10) == ["from a view", "from a worker"]
    with app.app_context():
        owl.hub.close()  # each app has its own, which is closed at the exit otherwise
    hub.close()


def test_a_route_is_in_the_hub_of_its_app() -> None:
    """Unless it has one of its own."""
    hub, own = MemoryHub(), MemoryHub()
    app, owl = site(HUB=hub)
    owl.accept("/shared")(lambda conn, request: None)
    owl.accept("/own", hub=own)(lambda conn, request: None)
    with app.app_context():
        assert owl.hub is hub
        assert [owl.clients(path).hub for path in ("/shared", "/own")] == [hub, own]
    hub.close()
    own.close()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, 'has no hub: set app.config["OWLSOCKET_HUB"]'),
        ("http://localhost", "OWLSOCKET_HUB is invalid: a hub is named by"),
        (7, "OWLSOCKET_HUB is invalid: needed is a hub, its URL, or a callable that returns it, not int"),
        ("no_such_module:hub", "OWLSOCKET_HUB cannot be imported"),
        ("sqlite:////nowhere/at/all/hub.db", "OWLSOCKET_HUB is invalid"),
    ],
)
def test_a_wrong_value_names_its_setting(value: object, says: str) -> None:
    """At the first use."""
    app, owl = site(HUB=value)
    with app.app_context(), pytest.raises(ConfigError) as caught:
        _ = owl.hub
    assert says in str(caught.value)


def test_a_hub_alone_configures_no_service() -> None:
    """A worker that only publishes needs no URL of a server."""
    app, owl = site(HUB=MemoryHub())
    with app.app_context(), pytest.raises(ConfigError, match="has no URL"):
        owl.call("anything")


def test_tests_publish_to_no_client_of_the_real_hub(tmp_path: Path) -> None:
    """Neither with a fake peer, nor with a server of their own: the events are kept for the test."""
    path = tmp_path / "hub.db"
    app, owl = site(URL="ws://127.0.0.1:1", HUB=f"sqlite:///{path}", SERVICES={"stock": {"URL": "ws://127.0.0.1:1"}})
    owl.accept("/shared")(lambda conn, request: None)
    with app.app_context():
        with owl.fake_peer() as fake, owl.fake_peer(service="stock") as stock:
            owl.hub.publish("tick", {"order": (1, 2)}, room="owls")
            owl.clients("/shared").broadcast("tock", 3)
            owl.hub.send("note", 4, user="ann")
            seen = [("tick", {"order": [1, 2]}, "owls", None), ("tock", 3, None, None), ("note", 4, None, "ann")]
            assert fake.published == stock.published == seen
            assert owl.clients("/shared").hub is owl.hub
        with owl.test_server(), owl.fake_peer(service="stock") as stock:
            owl.hub.publish("tick")
            assert stock.published == [("tick", None, None, None)]
        assert list(tmp_path.iterdir()) == []
        hub = owl.hub
        assert owl.clients("/shared").hub is hub
        hub.close()


def test_an_app_without_a_hub_has_none_in_a_test_either() -> None:
    """It fails as it would at work."""
    app, owl = site(URL="ws://127.0.0.1:1")
    with app.app_context(), owl.fake_peer() as fake:
        with pytest.raises(ConfigError, match="has no hub"):
            owl.hub.publish("tick")
        assert fake.published == []
