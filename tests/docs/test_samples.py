"""Each sample does what it says, as it is."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, Server, serve
from support import notebook
from support.helpers import scaled

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"

PRINTED = {
    "quickstart.py": """
        Hello, Ada!
        event from the server: {'name': 'Ada'}
        6 / 3 = 2.0
        error from the server: ZeroDivisionError: division by zero
    """,
    "chat.py": """
        in the room: Ada and Bob
        Ada: Is anybody here?
        Bob: Only us owls.
        Ada: Then let us talk.
    """,
    "streaming.py": """
        chunk: twit
        chunk: twoo
        chunk: hoot
        observed: twit
        observed: twoo
        observed: hoot
    """,
    "callbacks.py": """
        the shop asks: lantern for 15? - yes
        Here is your lantern.
        the shop asks: castle for 1000000? - no
        Another time, then.
        in the queue: Consumed(payload={'bill': 15}, id='bill-lantern', remaining=0)
    """,
    "parallel_calls.py": """
        in call order: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121]
        done: 4 pending: 0
        timed out, as expected
    """,
    "own_store.py": """
        order: lantern
        order: perch
    """,
    "typed_payloads.py": """
        on offer: lantern 15.90 SMALL
        on offer: perch 4.10 LARGE
        due: 2024-03-01 total: 20.00
        found: None
        without the proxy: 20.00
        refused: argument items[0].price: expected Decimal as text, got 'much'
    """,
    "contract.py": """
        Ada is 7
        ['Ada', 'Bob']
        Eve: not here
            def find(self, name: str) -> Owl | None:
            def older_than(self, age: int) -> list[Owl]: ...
    """,
}


def lines(text: str) -> list[str]:
    """The lines of a text, without what indents them."""
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("name", sorted(PRINTED))
def test_a_script_prints_what_it_should(name: str) -> None:
    """And nothing on stderr."""
    command = [sys.executable, "-W", "error", str(SAMPLES / name)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(30), cwd=ROOT)
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert lines(ran.stdout) == lines(PRINTED[name])


def test_the_login_leads_to_the_guarded_server() -> None:
    """As the server prints it, with a key that it made on the spot; its file is for its owner alone."""
    server = subprocess.Popen(
        [sys.executable, "-W", "error", str(SAMPLES / "auth_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert server.stdout is not None
    _, script, *arguments = server.stdout.readline().split()
    assert Path(arguments[-1]).stat().st_mode & 0o077 == 0
    ran = subprocess.run(
        [sys.executable, "-W", "error", script, *arguments],
        capture_output=True,
        text=True,
        timeout=scaled(30),
        cwd=ROOT,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert lines(ran.stdout) == [
        "without a token: 401 a token is required",
        "the server knows the user: True",
        "scopes: ['read']",
        "treasure: a chest of gold",
    ]
    output, wrong = server.communicate("", timeout=scaled(10))
    assert (server.returncode, wrong) == (0, "")
    assert output.startswith("connected: ed25519:")


def test_every_sample_is_run() -> None:
    """None is forgotten here."""
    ours = {
        *PRINTED,
        "auth_server.py",
        "login.py",
        "browser_chat",
        "flask_app",
        "orders",
        "django_view",
        "notebook.ipynb",
    }
    assert {path.name for path in SAMPLES.iterdir() if not path.name.startswith("__")} == ours


def test_orders_of_the_flask_app_reach_its_worker(tmp_path: Path) -> None:
    """In another process; one that cannot be delivered is set aside."""
    from samples.orders import create_app

    path = str(tmp_path / "orders.db")
    app = create_app(path)
    client = app.test_client()
    bad = {"count": 2}
    for order in ({"dish": "pie", "count": 1}, bad, {"dish": "soup", "count": 3}):
        answer = client.post("/orders", json=order)
        assert answer.status_code == 202
    command = [sys.executable, "-W", "error", "-m", "samples.orders.worker", "0"]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=scaled(30), cwd=ROOT, env={**os.environ, "ORDERS": path}
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    first, refused, last = ran.stdout.splitlines()
    assert (first, last) == ("delivered: 1 x pie", "delivered: 3 x soup")
    assert "an order needs the field 'dish'" in refused
    assert client.get("/orders").get_json() == {"waiting": 0, "in_flight": 0, "dead": 1}
    app.extensions["orders"].close()


@pytest.fixture
def users() -> Iterator[Server]:
    """A server that knows users."""

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: None)

        @conn.perform("getUser")
        def get_user(number: int) -> dict[str, Any]:
            if number == 404:
                raise LookupError("no such user")
            return {"id": number, "name": f"owl {number}"}

        conn.perform("change", lambda number: conn.notify("user.changed", number))

    with serve(handler) as server:
        yield server


def fetch(url: str) -> Any:
    """The JSON that a view answers."""
    with urllib.request.urlopen(url, timeout=scaled(10)) as answer:
        return json.load(answer)


def test_the_flask_app_shares_one_connection(users: Server) -> None:
    """Between all threads of its worker; errors of the peer become HTTP's."""
    from werkzeug.serving import make_server as make_threaded

    from samples.flask_app import create_app, owl

    app = create_app(users.url)
    try:
        client = app.test_client()
        assert client.get("/users/7").json == {"id": 7, "name": "owl 7"}
        assert (client.get("/users/404").status_code, client.get("/users/404").json) == (502, {"error": "no such user"})
        http = make_threaded("127.0.0.1", 0, app, threaded=True, request_handler=None)
        http.RequestHandlerClass.log = lambda *arguments: None  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        with ThreadPoolExecutor(8) as browsers:
            urls = [f"http://127.0.0.1:{http.server_port}/users/{number}" for number in range(80)]
            assert [user["id"] for user in browsers.map(fetch, urls)] == list(range(80))
        http.shutdown()
        thread.join(scaled(5))
        http.server_close()
        assert len(users.connections) == 1
    finally:
        with app.app_context():
            owl.close()


DJANGO = """
import json, os, sys, threading, time, urllib.request
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

os.environ["DJANGO_SETTINGS_MODULE"] = "samples.django_view.settings"
from django.core.wsgi import get_wsgi_application
from django.core.cache import cache
from django.test import Client
from owlsocket_sync.contrib.django import client

app = get_wsgi_application()
print(json.dumps(Client().get("/users/7").json()))
print(Client().get("/users/404").status_code)
known = cache.get("user-7")
client.call("change", 7)
end = time.monotonic() + 10
while cache.get("user-7") and time.monotonic() < end:
    time.sleep(0.01)
print(known["name"], cache.get("user-7"))

class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass

http = make_server("127.0.0.1", 0, app, Threaded, Quiet)
threading.Thread(target=http.serve_forever, daemon=True).start()

def fetch(number):
    with urllib.request.urlopen(f"http://127.0.0.1:{http.server_port}/users/{number}", timeout=10) as answer:
        return json.load(answer)["id"]

with ThreadPoolExecutor(8) as browsers:
    print(list(browsers.map(fetch, range(80))) == list(range(80)))
http.shutdown()
http.server_close()
"""


def test_the_django_view_shares_one_connection(users: Server) -> None:
    """In a process of its own, through its test client and through real threads; its handler forgets who changed."""
    environment = {**os.environ, "OWLSOCKET_URL": users.url, "PYTHONPATH": str(ROOT)}
    came: list[Any] = []
    users._handler, handler = (lambda conn, request: (came.append(conn), handler(conn, request))[1]), users._handler
    ran = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, timeout=scaled(60), cwd=ROOT, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    assert lines(ran.stdout) == ['{"id": 7, "name": "owl 7"}', "502", "owl 7 None", "True"]
    assert len(came) == 1


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """In a kernel of its own; each cell shows what it should, and what is kept in it is of the same kinds."""
    command = [sys.executable, "-m", "support.notebook", "--to", str(tmp_path / "ran.ipynb")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(120), env=environment)
    assert ran.returncode == 0, ran.stderr
    now, kept = (json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "ran.ipynb", notebook.NOTEBOOK))
    shown = [
        "".join(output["data"]["text/plain"])
        for cell in now["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if output["output_type"] == "execute_result"
    ]
    expected = [
        r"<Connection 'notebook' open ws://127\.0\.0\.1:\d+/>",
        "5",
        "<ResilientError ERROR: ZeroDivisionError: division by zero>",
        r"\['TWIT', 'TWOO'\]",
        "<Watch of event price on 'notebook', live>",
        r" +time +sent +event .* day +price +of.kind.*",
        r"{'time': 'datetime64\[us, UTC\]',.*'event': 'string',.*'price': 'Float64',.*'of\.kind': 'string'}",
        r" +id +good +count\n0 +order-0 +lantern +1\n.*",
        r"\[0, 1, 2, 3, 4\]",
        "125250",
        "<LatencyLog of 'notebook': 100 round trips, 0 lost>",
        "<Health of 'notebook', live>",
        r"Stats\(messages_in=.*, malformed=0, .*\)",
        r"\(0, 0, 60, <ConnectionState\.CLOSED: 'closed'>\)",
    ]
    assert len(shown) == len(expected)
    assert [text for text, form in zip(shown, expected, strict=True) if not re.fullmatch(form, text, re.DOTALL)] == []
    # Whoever changes it runs ``PYTHONPATH=tests python -m support.notebook``.
    assert [cell["source"] for cell in now["cells"]] == [cell["source"] for cell in kept["cells"]]
    assert notebook.kinds(now) == notebook.kinds(kept)


def test_the_notebook_is_kept_with_its_pictures() -> None:
    """Those of its plots are those of the docs, to the byte; each one of the docs has words for who does not see it."""
    kept = json.loads(notebook.NOTEBOOK.read_text(encoding="utf-8"))
    for cell in kept["cells"]:
        cell["source"] = "".join(cell["source"])
    for name, beginning in notebook.PLOTS.items():
        drawn = base64.b64decode(notebook.output(kept, beginning)["image/png"])
        assert drawn == (notebook.IMAGES / name).read_bytes()
    page = (ROOT / "docs" / "how-to" / "notebooks.md").read_text(encoding="utf-8")
    pictures = dict(re.findall(r"!\[([^\]]{20,})\]\(\.\./images/([\w.-]+)\)", page))
    assert set(pictures.values()) == {*notebook.PLOTS, *notebook.CARDS}
    for name in pictures.values():
        assert (notebook.IMAGES / name).read_bytes().startswith(b"\x89PNG")
