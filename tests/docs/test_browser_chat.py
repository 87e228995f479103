"""A browser at the other end: the chat's page in a real Chromium, its server and its terminal client beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from docs.blocks import blocks_of
from owlsocket_sync import Connection, ResilientError, SocketConnectionError, SocketTimeout, SocketUnsupported, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy
from support.child_processes import Child, environment
from support.chromium import Chromium, Page, installed
from support.helpers import Collector, eventually, scaled

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

CHAT = Path(__file__).parents[2] / "samples" / "browser_chat"
MARKUP = '<img src="x" onerror="document.title = 1"><b>bold</b>'
LAST_LINE = "document.querySelector('#said li:last-child')"

needs_chromium = pytest.mark.skipif(installed() is None, reason="no Chromium on this machine: apt-get install chromium")


@dataclass
class Running:
    """The chat's server in a process of its own, which can be killed and started again where it was."""

    child: Child
    page: str
    link: str

    @classmethod
    def start(cls, port: str = "0", socket_port: str = "0") -> Running:
        """Start one; 0 takes a free port."""
        command = [sys.executable, str(CHAT / "server.py"), "--port", port, "--socket-port", socket_port]
        child = Child(command)
        announced = re.fullmatch(r"open (\S+) in a browser, or: python client.py (\S+) NAME", child.line())
        assert announced, child.finish().complaints
        return cls(child, announced[1], announced[2])

    def stop(self) -> None:
        """Kill it, as an outage would."""
        self.child.__exit__(None, None, None)

    def restart(self) -> None:
        """Start it again, on the same ports."""
        self.child = Running.start(self.page.rpartition(":")[2], self.link.rpartition(":")[2]).child


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """One browser for all."""
    with Chromium() as running:
        yield running


@pytest.fixture
def chat() -> Iterator[Running]:
    """A server with an empty room."""
    running = Running.start()
    yield running
    running.stop()


@pytest.fixture
def ada(browser: Chromium, chat: Running) -> Iterator[Page]:
    """A page on which Ada has come in."""
    with browser.page(chat.page) as page:
        page.write("#name", "Ada")
        page.wait(f"{STATE} === 'here'")
        yield page


STATE = "document.querySelector('#state').textContent"
SAID = "[...document.querySelectorAll('#said li')].map(one => one.textContent)"
HERE = "[...document.querySelectorAll('#here li')].map(one => one.textContent).join()"


@pytest.fixture
def bob(chat: Running) -> Iterator[Connection]:
    """Bob, who is a Python program."""
    with connect(chat.link, auth=lambda conn: conn.call("join", "Bob", "bob's key")) as conn:
        yield conn


@needs_chromium
def test_what_python_says_appears_in_the_page(ada: Page, bob: Connection) -> None:
    """With who says it, in order; what was said before somebody came is there when they come."""
    for text in ("twit", "twoo"):
        bob.call("say", text)
    ada.wait(f"{SAID}.length === 2")
    assert ada.evaluate(SAID) == ["Bobtwit", "Bobtwoo"]


@needs_chromium
def test_what_the_page_says_reaches_python(ada: Page, bob: Connection) -> None:
    """Typed as people type; the field is empty then."""
    heard = bob.events("said", timeout=scaled(5))
    ada.write("#text", "is anybody here? 🦉")
    line = next(heard).payload
    assert (line["name"], line["text"]) == ("Ada", "is anybody here? 🦉")
    ada.wait("document.querySelector('#text').value === ''")
    ada.wait(f"{SAID}.length === 1")


@needs_chromium
def test_markup_is_shown_as_text(ada: Page, chat: Running) -> None:
    """Of what is said, and of names: nothing of it becomes part of the page."""
    with connect(chat.link, auth=lambda conn: conn.call("join", "<i>Eve</i>", "eve's key")) as eve:
        eve.call("say", MARKUP)
        ada.wait(f"{LAST_LINE} !== null")
        assert ada.evaluate(f"{LAST_LINE}.querySelector('b').textContent") == "<i>Eve</i>"
        assert ada.evaluate(f"{LAST_LINE}.lastChild.data") == MARKUP
        ada.wait(f"{HERE} === '<i>Eve</i>,Ada'")
        assert ada.evaluate("document.querySelectorAll('#room img, #room i, #said b b').length") == 0


@needs_chromium
def test_who_is_here_is_shown(ada: Page, chat: Running) -> None:
    """Who comes, and who leaves."""
    assert ada.evaluate(HERE) == "Ada"
    with connect(chat.link) as bob:
        bob.call("join", "Bob", "bob's key")
        ada.wait(f"{HERE} === 'Ada,Bob'")
    ada.wait(f"{HERE} === 'Ada'")


@needs_chromium
def test_an_error_of_the_peer_is_shown(ada: Page) -> None:
    """In its words, and the text stays to be corrected; it is gone with the next attempt."""
    ada.write("#text", "x" * 501)
    ada.wait("document.querySelector('#trouble').textContent === 'a message has 1 to 500 characters'")
    assert ada.evaluate("document.querySelector('#text').value.length") == 501
    ada.evaluate("document.querySelector('#text').value = ''")
    ada.write("#text", "short")
    ada.wait("document.querySelector('#trouble').textContent === ''")


@needs_chromium
def test_a_name_that_is_taken_leads_back_to_the_door(browser: Chromium, chat: Running, bob: Connection) -> None:
    """With the reason; under another name one may come in."""
    with browser.page(chat.page) as page:
        page.write("#name", "Bob")
        page.wait("document.querySelector('#trouble').textContent === 'the name Bob is taken'")
        assert page.evaluate("document.querySelector('#door').hidden") is False
        page.evaluate("document.querySelector('#name').value = ''")
        page.write("#name", "Ada")
        page.wait(f"{STATE} === 'here'")
        page.wait(f"{HERE} === 'Ada,Bob'")


@needs_chromium
def test_python_calls_into_the_page(ada: Page, bob: Connection) -> None:
    """Both ends are equal: the server asks the page what it is called, and the page asks for a terminal's title."""
    assert bob.call("where", "Ada") == "The owls' room"
    bob.perform("title", lambda: "a notebook")
    ada.wait(f"{HERE} === 'Ada,Bob'")
    ada.click("#here li:last-child button")
    ada.wait(f"{LAST_LINE}?.textContent === 'Boblooks at a notebook'")


@needs_chromium
def test_the_page_comes_back_after_a_restart(ada: Page, chat: Running) -> None:
    """It says that it is away, takes no text meanwhile, and comes in again by itself; nothing is shown twice."""
    ada.write("#text", "before")
    ada.wait(f"{SAID}.length === 1")
    chat.stop()
    ada.wait(f"{STATE} === 'away, trying to come back…'")
    assert ada.evaluate("document.querySelector('#text').disabled") is True
    chat.restart()
    ada.wait(f"{STATE} === 'here'", 30)
    ada.write("#text", "after")
    ada.wait(f"{SAID}.join() === 'Adabefore,Adaafter'")


@needs_chromium
def test_a_page_of_another_site_may_not_connect(browser: Chromium, chat: Running) -> None:
    """Only those that the server serves."""
    knock = f"""new Promise((done) => {{
      const socket = new WebSocket("{chat.link}");
      socket.onopen = () => done("open");
      socket.onclose = (event) => done(event.code);
    }})"""
    with browser.page("about:blank") as page:
        assert page.evaluate(knock) == 1006
    with browser.page(chat.page) as page:
        assert page.evaluate(knock) == "open"


@needs_chromium
def test_the_picture_of_the_documentation(ada: Page, bob: Connection, tmp_path: Path) -> None:
    """Is what the page looks like; kept where ``OWLSOCKET_SCREENSHOT`` says."""
    bob.perform("title", lambda: "a terminal")
    ada.wait(f"{HERE} === 'Ada,Bob'")
    bob.call("say", "Is anybody here?")
    ada.write("#text", "Only us owls.")
    ada.wait(f"{SAID}.length === 2")
    bob.call("say", "Then <b>let us talk</b>.")
    ada.wait(f"{SAID}.length === 3")
    ada.click("#here li:last-child button")
    ada.wait(f"{SAID}.length === 4")
    ada.evaluate("document.activeElement.blur()")
    path = Path(os.environ.get("OWLSOCKET_SCREENSHOT") or tmp_path / "browser-chat.png")
    ada.screenshot(path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert struct.unpack(">II", data[16:24]) == (960, 480)


@needs_chromium
def test_the_page_of_the_documentation_does_what_it_says(browser: Chromium, tmp_path: Path) -> None:
    """Its files as they stand there, but for the ports."""
    page, link = free_ports(2)
    for block in blocks_of((CHAT.parent.parent / "docs" / "how-to" / "browser.md").read_text(encoding="utf-8")):
        if block.title is not None:
            file = tmp_path / block.title
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text.replace("8851", page).replace("8852", link), encoding="utf-8")
    command = ["sh", "-c", 'cd "$0" && exec "$1" server.py 2> /dev/null', str(tmp_path), sys.executable]
    with Child(command):
        eventually(lambda: answers(page) and answers(link), 10)
        with browser.page(f"http://127.0.0.1:{page}") as tab:
            tab.wait("document.querySelector('#greeting').innerText === 'Hello, Ada! And the title is Owls.'")


def free_ports(count: int) -> list[str]:
    """Ports on which nobody listens."""
    with ExitStack() as stack:
        listening = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(sock.getsockname()[1]) for sock in listening]


def answers(port: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", int(port))) == 0


# -- peer.js, against a server of the test's own ----------------------------------------------------------------------


@pytest.fixture
def bare(browser: Chromium, chat: Running) -> Iterator[Page]:
    """A page from which any server may be talked to."""
    with browser.page("about:blank") as page:
        page.command("Page.setBypassCSP", enabled=True)
        page.command("Page.navigate", url=chat.page)
        page.wait("location.href.startsWith('http') && document.readyState === 'complete'")
        yield page


Serve = Callable[[Callable[[Connection, Request], Any]], Connection]


@pytest.fixture
def served(bare: Page) -> Iterator[Serve]:
    """Serves the page's ``peer`` with a handler, and hands out the server's end."""
    servers = []

    def start(handler: Callable[[Connection, Request], Any], options: str = "{}") -> Connection:
        came = Collector()

        def welcome(conn: Connection, request: Request) -> None:
            conn.on_error(lambda error, context: None)
            handler(conn, request)
            came(conn)

        server = serve(welcome, origins="*")  # the page comes from another port
        servers.append(server)
        bare.evaluate(
            "import('/peer.js').then(({Peer}) => new Promise(done => { const options = " + options + ";"
            "options.onstate = (state, error) => { (window.states ??= []).push(state); done(); };"
            f"window.peer = new Peer('{server.url}', options); }}))"
        )
        conn: Connection = came.wait(1)[0]
        return conn

    yield start
    bare.evaluate("window.peer?.close()")
    for server in servers:
        server.close(scaled(3))


def fails(page: Page, expression: str) -> tuple[str, str]:
    """The type and the message of the error with which a promise ends."""
    kind, message = page.evaluate(f"{expression}.then(() => ['', ''], error => [error.type, error.message])")
    return kind, message


def nothing(conn: Connection, request: Request) -> None:
    """A server that answers nothing of its own."""


@needs_chromium
def test_payloads_go_both_ways_as_they_are(bare: Page, served: Serve) -> None:
    """What JSON can hold, nothing at all included."""
    conn = served(lambda conn, request: conn.perform("echo", lambda *values: list(values)))
    bare.evaluate("peer.perform('echo', (...values) => values); peer.perform('nothing', () => {}); null")
    for values in ([], [None], [0, "", False], ["ä🦉\n", {"a": [1.5, {}]}], [2**53 - 1]):
        assert conn.call("echo", *values) == values
        assert bare.evaluate(f"peer.call('echo', ...{json.dumps(values)})") == values
    assert conn.call("nothing") is None


@needs_chromium
def test_errors_go_both_ways(bare: Page, served: Serve) -> None:
    """With their types; a method that is not there is one."""

    def fail() -> None:
        raise LookupError("no such owl")

    conn = served(lambda conn, request: conn.perform("fail", fail))
    assert fails(bare, "peer.call('fail')") == ("LookupError", "no such owl")
    assert fails(bare, "peer.call('toString')")[0] == "SocketErrorConnectionUnsupported"
    bare.evaluate("peer.perform('fail', async () => { throw new RangeError('too far'); }); null")
    with pytest.raises(ResilientError, match="too far") as caught:
        conn.call("fail")
    assert caught.value.type == "RangeError"
    with pytest.raises(SocketUnsupported, match="no method toString"):
        conn.call("toString")


@needs_chromium
def test_events_go_both_ways(bare: Page, served: Serve) -> None:
    """In order; an observer that fails stops nobody."""
    conn = served(nothing)
    bare.evaluate(
        "window.seen = []; peer.observe('tick', () => { throw 1; }); peer.observe('tick', n => seen.push(n)); 0"
    )
    for number in range(20):
        conn.notify("tick", number)
    bare.wait("seen.length === 20")
    assert bare.evaluate("seen") == list(range(20))
    heard = conn.events("tock", timeout=scaled(5))
    bare.evaluate("peer.notify('tock', {a: 1})")
    assert next(heard).payload == {"a": 1}


@needs_chromium
def test_a_call_ends_at_its_time(bare: Page, served: Serve) -> None:
    """In the page, when Python does not answer; in Python, when the page does not."""
    conn = served(lambda conn, request: conn.perform("slow", lambda: conn.wait_closed(scaled(20)) and None))
    bare.evaluate("peer.perform('slow', () => new Promise(() => {})); null")
    with pytest.raises(SocketTimeout):
        conn.call("slow", timeout=0.05)
    hasty = """import('/peer.js').then(({Peer}) => new Promise((done) => {
      const onstate = (state) => state === 'open' && done(two.call('slow').finally(() => two.close()));
      const two = new Peer(peer.url, {callTimeout: 50, onstate});
    }))"""
    assert fails(bare, hasty) == ("SocketErrorTimeout", "no reply to slow within 0.05 s")


@needs_chromium
def test_a_lost_link_fails_what_was_in_flight_and_is_made_anew(bare: Page, served: Serve) -> None:
    """At once; handlers stay, and so do the next calls."""
    asked = Collector()

    def handler(conn: Connection, request: Request) -> None:
        conn.perform("slow", lambda: (asked(1), conn.wait_closed(scaled(20)))[0])
        conn.perform("double", lambda number: 2 * number)

    conn = served(handler)
    bare.evaluate("window.failed = peer.call('slow').then(() => '', error => error.type); null")
    asked.wait(1)
    conn.close(1012, "restarting")
    assert bare.evaluate("failed") == "SocketErrorConnection"
    bare.wait("states.join() === 'open,reconnecting,open'")
    assert bare.evaluate("peer.call('double', 21)") == 42
    bare.evaluate("peer.close()")
    assert bare.evaluate("states.at(-1)") == "closed"
    assert fails(bare, "peer.call('double', 1)") == ("SocketErrorConnection", "not connected")


@needs_chromium
def test_a_link_on_which_nothing_comes_is_given_up(bare: Page) -> None:
    """However long its end may take to be seen: the page asks for signs of life."""
    with serve(nothing, origins="*") as server, FaultProxy("127.0.0.1", server.port) as proxy:
        bare.evaluate(f"""import("/peer.js").then(({{Peer}}) => new Promise((done) => {{
          window.told = [];
          const onstate = (state, error) => {{ told.push([state, error?.message ?? null]); done(); }};
          const options = {{heartbeat: 500, connectTimeout: 1000, initial: 1, onstate}};
          window.two = new Peer("{proxy.url()}", options);
        }}))""")
        assert bare.evaluate("told") == [["open", None]]
        proxy.blackhole()
        bare.wait("told.length > 1")
        assert bare.evaluate("told[1]") == ["reconnecting", "heartbeat timeout"]
        bare.wait("told.length > 2")
        assert bare.evaluate("told[2]") == ["reconnecting", "connecting timed out"]
        proxy.blackhole(False)
        bare.wait("two.state === 'open'")
        bare.evaluate("two.close()")


# -- without a browser ------------------------------------------------------------------------------------------------


def test_the_terminal_client_chats(chat: Running, bob: Connection) -> None:
    """What others say is printed, what is typed is said; nothing that is said can paint the terminal."""
    heard = bob.events("said", timeout=scaled(10))
    bob.call("say", "\x1b[31mred\nline")
    with subprocess.Popen(
        [sys.executable, str(CHAT / "client.py"), chat.link, "Ada"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "Bob: \\x1b[31mred\\nline\n"
        assert bob.call("where", "Ada") == "a terminal"
        process.stdin.write("hello\n/who\n/where Zoe\n/where Bob\n")
        process.stdin.flush()
        assert [next(heard).payload["text"] for _ in range(2)][1] == "hello"
        bob.perform("title", lambda: "never asked")
        due = {"Ada: hello\n", "here: Ada, Bob\n"}
        while due:
            line = process.stdout.readline()
            assert line
            due.discard(line)
        _, complaints = process.communicate("/quit\nnever said\n", timeout=scaled(20))
    assert process.returncode == 0
    assert "[unknown name]" in complaints.splitlines()
    assert "Traceback" not in complaints


@pytest.mark.parametrize("refused", ["while it waits", "before its handlers are registered"])
def test_a_name_that_is_taken_ends_the_terminal_client(chat: Running, bob: Connection, refused: str) -> None:
    """In one line."""
    code = f"import sys, client\nsys.argv = ['client.py', {chat.link!r}, 'Bob']\n"
    if refused == "before its handlers are registered":
        code += "connect = client.connect\ndef late(*arguments, **options):\n"
        code += "    conn = connect(*arguments, **options)\n    conn.wait_closed(20)\n    return conn\n"
        code += "client.connect = late\n"
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(CHAT)!r})\n{code}client.main()"]
    ran = subprocess.run(command, input="", capture_output=True, text=True, timeout=scaled(20), env=environment())
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("cannot chat: ")
    assert "the name Bob is taken" in ran.stderr


def test_who_comes_back_is_the_same(chat: Running, bob: Connection) -> None:
    """The same key takes the name over, and the link that it was on ends; another key does not."""
    with connect(chat.link, reconnect=None) as again:
        with pytest.raises(ResilientError, match="the name Bob is taken") as caught:
            again.call("join", "Bob", "another key")
        assert caught.value.type == "Refused"
        with pytest.raises(ResilientError, match="join first"):
            again.call("say", "hello")
        lost = Collector()
        bob.on_state(lost)
        again.call("join", "Bob", "bob's key")
        lost.wait(1)
        bob.close()


def test_the_page_is_served_with_a_policy_and_nothing_else_is(chat: Running) -> None:
    """It may run its own script only; files beside it, and above, are nobody's business."""
    with urllib.request.urlopen(chat.page, timeout=scaled(5)) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert policy == f"default-src 'self'; img-src data:; connect-src 'self' {chat.link}"
    for name in ("server.py", "README.md", "../quickstart.py", "%2e%2e/chat.py", "nothing.js"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{chat.page}/{name}", timeout=scaled(5))
        assert caught.value.code == 404
        caught.value.close()
    with pytest.raises(SocketConnectionError):
        connect(chat.link, headers={"Origin": "https://elsewhere.example"}, reconnect=None, timeout=scaled(5))


def test_the_server_ends_with_ctrl_c(chat: Running) -> None:
    """Without a word of complaint."""
    chat.child.send(signal.SIGINT)
    done = chat.child.finish()
    assert (done.code, done.complaints) == (0, "")
    assert done.out.splitlines()[-1] == "bye"
