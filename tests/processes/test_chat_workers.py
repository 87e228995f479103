"""The chat on four processes: gunicorn behind nginx serves one room to two browsers, over a hub in a file."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from owlsocket_sync import ResilientError, connect
from owlsocket_sync.hub import Member, SqliteHub
from support.child_processes import ROOT, Child, environment, listening
from support.chromium import Chromium, Page, installed
from support.helpers import eventually, scaled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx on this machine: apt-get install nginx"),
    pytest.mark.skipif(installed() is None, reason="no Chromium on this machine: apt-get install chromium"),
]

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{workers};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_read_timeout 1h;
        }}
    }}
}}
"""
APP = "samples.browser_chat.workers:app"
STATE = "document.querySelector('#state').textContent"
SAID = "[...document.querySelectorAll('#said li')].map(one => one.textContent)"
HERE = "[...document.querySelectorAll('#here li')].map(one => one.textContent).join()"


class Site(NamedTuple):
    """The room, as browsers reach it, and the hub of its workers."""

    url: str
    hub: SqliteHub

    def member(self, name: str) -> Member:
        """Return who is in the room by this name."""
        (found,) = [member for member in self.hub.members("chat") if member.info["name"] == name]
        return found

    def process_of(self, member: Member) -> int:
        """Return the id of the worker that has the link of a member."""
        node = (member.id.partition("-")[0],)
        with closing(sqlite3.connect(self.hub._sqlite_bus.path)) as connection:
            return int(connection.execute("SELECT pid FROM nodes WHERE node = ?", node).fetchone()[0])


@contextmanager
def behind_nginx(folder: Path, workers: int) -> Iterator[int]:
    """An nginx that passes everything on to a port; the port at which it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, workers=workers))

    def listens() -> bool:
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", port)) == 0

    with Child(["nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "errors.log")]):
        eventually(listens, 20)
        yield port


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Four workers, and nginx before them."""
    path = tmp_path / "hub.db"
    with listening() as sock, SqliteHub(path) as hub:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{sock.fileno()}", "--workers", "4"]
        options = [
            "--threads",
            "20",
            "--log-level",
            "warning",
            "--chdir",
            str(ROOT),
            "samples.browser_chat.workers:app",
        ]
        with (
            Child([*command, *options, APP], environment("", CHAT_HUB=f"sqlite:///{path}"), [sock.fileno()]),
            behind_nginx(tmp_path, sock.getsockname()[1]) as port,
        ):
            yield Site(f"http://127.0.0.1:{port}/", hub)


@contextmanager
def come_in(browser: Chromium, site: Site, name: str, elsewhere: str | None = None) -> Iterator[Page]:
    """A page on which somebody has come in; on another server of the hub than this one."""
    for _ in range(100):
        with browser.page(site.url) as page:
            page.write("#name", name)
            page.wait(f"{STATE} === 'here'", 30)
            if site.member(name).server != elsewhere:
                yield page
                return
        eventually(lambda: name not in [member.info["name"] for member in site.hub.members("chat")])
    raise AssertionError("each link was given to the same worker")


def test_four_workers_serve_one_room_to_two_browsers(site: Site) -> None:
    """Each on another worker: they see each other, hear each other, and look at each other's page."""
    with (
        Chromium() as first,
        Chromium() as second,
        come_in(first, site, "Ada") as ada,
        come_in(second, site, "Bob", site.member("Ada").server) as bob,
    ):
        for page in (ada, bob):
            page.wait(f"{HERE} === 'Ada,Bob'")
        ada.write("#text", "is anybody here?")
        bob.wait(f"{SAID}.length === 1")
        bob.write("#text", "yes")
        for page in (ada, bob):
            page.wait(f"{SAID}.length === 2")
            assert page.evaluate(SAID) == ["Adais anybody here?", "Bobyes"]
        ada.click("#here li:last-child button")
        ada.wait(f"{SAID}.length === 3")
        assert ada.evaluate(SAID)[2].startswith("Boblooks at")
        with connect(site.url.replace("http", "ws") + "ws", timeout=scaled(20)) as eve:
            with pytest.raises(ResilientError, match="the name Bob is taken"):
                eve.call("join", "Bob", "another key")
            assert eve.call("join", "Eve", "eve's key")["here"] == ["Ada", "Bob", "Eve"]
            ada.wait(f"{HERE} === 'Ada,Bob,Eve'")
        site.hub.publish("said", {"id": "1", "name": "The house", "text": "we close"}, room="chat")
        for page in (ada, bob):
            page.wait(f"{SAID}.at(-1) === 'The housewe close'")
            page.wait(f"{HERE} === 'Ada,Bob'")


def test_a_worker_that_is_killed_leaves_no_ghost(site: Site) -> None:
    """Its clients come back on other workers, and everyone is there once; the others are told."""
    url = site.url.replace("http", "ws") + "ws"
    with (
        connect(url, timeout=scaled(20), auth=lambda conn: conn.call("join", "Bob", "bob's key")),
        connect(url, timeout=scaled(20)) as ada,
        ada.events("here", timeout=scaled(20)) as here,
    ):
        killed = site.member("Bob")
        os.kill(site.process_of(killed), signal.SIGKILL)
        eventually(lambda: killed.id not in [member.id for member in site.hub.members("chat")], 10)
        eventually(lambda: site.hub.count("chat") == 1, 20)
        assert site.member("Bob").server != killed.server
        ada.call("join", "Ada", "ada's key", timeout=scaled(20))
        assert any(event.payload == ["Ada", "Bob"] for event in here)


def test_a_visitor_returns_while_the_worker_of_the_old_link_dies(site: Site) -> None:
    """That the old link cannot be closed any more is no error of the new one; and nobody sees the visitor's key."""
    url = site.url.replace("http", "ws") + "ws"
    with connect(url, timeout=scaled(20), reconnect=None) as before:
        before.call("join", "Bob", "bob's key", timeout=scaled(20))
        left = site.member("Bob")
        assert "bob's key" not in str(left.info)
        worker = site.process_of(left)
        os.kill(worker, signal.SIGSTOP)  # so that it answers nothing until it is dead
        with connect(url, timeout=scaled(20)) as again:
            try:
                joined = again.submit("join", "Bob", "bob's key", timeout=scaled(20))
                eventually(lambda: site.hub.count("chat") == 2, 10)
            finally:
                os.kill(worker, signal.SIGKILL)
            assert joined.result(scaled(20))["here"] == ["Bob"]
            eventually(lambda: site.hub.count("chat") == 1, 10)
