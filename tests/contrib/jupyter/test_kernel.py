"""In a real kernel: interrupts, cells that run twice, and views that are stopped from the page."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape

import pytest

from support.child_processes import Child, environment, script
from support.helpers import eventually, scaled
from support.kernels import Kernel, Ran

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernel")]

WAITING = {
    "a call": "conn.call('slow', timeout=60)",
    "an event": "conn.call('say', 'waits'); next(conn.events('never', timeout=60))",
    "a stream": "next(conn.stream('slow', timeout=60))",
    "a frame of events": "events_frame(conn, 'never', limit=1, timeout=60, start=lambda: conn.call('say', 'waits'))",
    "a frame of the queue": "conn.call('say', 'waits'); queue_frame(conn, timeout=60)",
    "parallel calls": "gather(conn, ['quiet', ('say', 'waits')], timeout=60)",
    "a row of pings": "conn.call('say', 'waits'); latencies(conn, count=100, interval=60)",
}
SERVER = """
from owlsocket_sync.server import serve

def say(word):
    sys.stdout.write(word + "\\n")  # in one piece, whoever else speaks
    sys.stdout.flush()

gates = []

def quiet():
    gate = threading.Event()
    gates.append(gate)
    gate.wait(60)

def slow():
    say("waits")
    quiet()

def release():
    while gates:
        gates.pop().set()

def handler(conn, request):
    conn.on_error(lambda error, context: None)
    conn.perform("echo", lambda value: value)
    conn.perform("say", say)
    conn.perform("slow", slow)
    conn.perform("quiet", quiet)
    conn.perform("release", release)
    conn.perform("count", lambda: len(server.connections))
    conn.perform("tick", lambda count: [conn.notify("tick", {"n": n}) for n in range(count)] and None)
    conn.perform("push", lambda count: [conn.enqueue({"number": n}, f"q{n}") for n in range(count)] and None)
    conn.acknowledge(lambda id, payload: (say("waits"), True)[1])
    conn.observe("note", lambda message: say(message.payload))

server = serve(handler, workers=16)
say(server.url)
server.wait()
"""


class Room:
    """A kernel that is connected to a server in a third process."""

    def __init__(self, kernel: Kernel, server: Child) -> None:
        self.kernel = kernel
        self.server = server

    def heard(self, word: str) -> None:
        """Wait until the server prints a line."""
        while self.server.line() != word:
            pass

    def run(self, cell: str) -> Ran:
        """Run a cell to its end."""
        return self.kernel.run(cell)

    def connections(self) -> int:
        """Return the number of connections of the server."""
        return int(self.run("conn.call('count', timeout=20)").text)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """One kernel for all tests of this module, as it takes long to start."""
    with script(SERVER, "") as server, Kernel() as kernel:
        kernel.run(
            "%load_ext owlsocket_sync.contrib.jupyter\n"
            "import asyncio, gc, threading\nfrom owlsocket_sync import connect\n"
            "from owlsocket_sync.contrib.jupyter import *\n"
            f"url = {server.line()!r}\nconn = connect(url, name='nb', replace=True)"
        )
        yield Room(kernel, server)


@pytest.mark.parametrize("waiting", WAITING)
def test_an_interrupt_ends_the_wait_and_leaves_the_connection(room: Room, waiting: str) -> None:
    """The same link continues, and no call is pending."""
    cell = room.kernel.start(WAITING[waiting])
    room.heard("waits")
    assert room.kernel.interrupt(cell).error == "KeyboardInterrupt"
    ran = room.run("conn.call('echo', 'still here', timeout=20), conn.stats.reconnects")
    assert ran.text == "('still here', 0)"
    assert room.connections() == 1
    eventually(lambda: room.run("conn.stats.pending").text == "0")
    room.run("conn.call('release')\nconn.call('say', 'next')")
    room.heard("next")


def test_an_interrupt_returns_messages_to_the_queue(room: Room) -> None:
    """In the former order."""
    room.run("conn.call('push', 3)\nnoted = lambda payload: [conn.notify('note', f'n{payload[\"number\"]}')]")
    cell = room.kernel.start("queue_frame(conn, timeout=60, filter=noted)")
    room.heard("n2")
    assert room.kernel.interrupt(cell).error == "KeyboardInterrupt"
    assert room.run("queue_frame(conn, limit=3, timeout=20).number.tolist()").text == "[0, 1, 2]"
    assert room.run("conn.enqueued()").text == "0"


def test_a_cell_that_runs_twice_leaves_one_connection(room: Room) -> None:
    """Without additional threads."""
    cell = "conn = connect(url, name='nb', replace=True)\nconn.call('echo', 1)"
    assert room.run(cell).text == room.run(cell).text == "1"
    eventually(lambda: room.connections() == 1)
    ran = room.run("[thread.name for thread in threading.enumerate() if thread.name.endswith('-poller')]")
    assert ran.text == "['owlsocket-poller']"


def test_an_error_of_a_handler_shows(room: Room) -> None:
    """In the output of the cell that was running; not where the program handles errors itself."""
    cell = "observed = conn.observe('tick', lambda message: 1 / 0)\nconn.call('tick', 1); conn.wait_idle(20)"
    assert "nb: observe tick: division by zero" in room.run(cell).printed
    handled = "with conn.on_error(lambda *_: None):\n    conn.call('tick', 1); conn.wait_idle(20)\nobserved()"
    assert room.run(handled).printed == ""


def test_a_forgotten_connection_warns(room: Room) -> None:
    """With the extension loaded, the page shows the warning."""
    ran = room.run("other = connect(url, name='other')\nother = None\ngc.collect()\n'done'")
    assert "ResourceWarning: connection 'other' to ws://127.0.0.1" in ran.printed
    room.run("connect(url, name='other', replace=True).close()")
    eventually(lambda: room.connections() == 1)


def test_a_connection_works_inside_an_event_loop(room: Room) -> None:
    """A connection needs no loop, and blocks as any other call."""
    ran = room.run("await asyncio.sleep(0)\nasyncio.get_running_loop() and conn.call('echo', 'in a loop')")
    assert ran.text == "'in a loop'"


def test_an_error_shows_a_card_below_its_traceback(room: Room) -> None:
    """An error that is the value of a cell is shown as a card only."""
    ran = room.kernel.finish(room.kernel.start("conn.call('nothing of this name')"))
    assert ran.error == "SocketUnsupported"
    assert "What to do" in ran.shown[0]["text/html"]
    ran = room.run("conn.submit('nothing of this name').exception()")
    assert "What to do" in ran.shown[0]["text/html"]
    assert ran.text.startswith("<SocketUnsupported")
    assert "(open)" in room.run("conn").shown[0]["text/html"]


def test_the_extension_can_be_unloaded(room: Room) -> None:
    """Afterwards only tracebacks are shown, and no warnings."""
    room.run("%unload_ext owlsocket_sync.contrib.jupyter")
    ran = room.kernel.finish(room.kernel.start("conn.call('nothing of this name')"))
    assert (ran.error, ran.shown) == ("SocketUnsupported", [])
    ran = room.run("other = connect(url, name='other')\nother = None\ngc.collect()\n'done'")
    assert ran.printed == ""
    room.run("connect(url, name='other', replace=True).close()\n%load_ext owlsocket_sync.contrib.jupyter")


def test_a_terminal_shows_the_traceback_only() -> None:
    """A terminal cannot show a card."""
    source = (
        "%load_ext owlsocket_sync.contrib.jupyter\nimport owlsocket_sync\nraise owlsocket_sync.SocketTimeout('late')"
    )
    command = [sys.executable, "-m", "IPython", "--no-banner", "--HistoryManager.enabled=False", "-c", source]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(30), env=environment(""))
    assert "SocketTimeout: late" in re.sub(r"\x1b\[[\d;]*m", "", ran.stdout + ran.stderr)
    assert "HTML" not in ran.stdout


def test_events_are_shown_until_the_button_is_pressed(room: Room) -> None:
    """Also the last event of a burst, after the cell."""
    kernel = room.kernel
    page, button = kernel.view(room.run("view = watch(conn, 'tick', limit=3, rate=20)\nview"))
    room.run("conn.call('tick', 50)")

    def last_is_shown() -> bool:
        room.run("await asyncio.sleep(0.05)")
        return "the last 3 of 50 events" in kernel.widgets[page]["value"]

    eventually(last_is_shown, 20)
    assert "{'n': 49}" in unescape(kernel.widgets[page]["value"])
    assert kernel.widgets[button]["description"] == "Stop"
    kernel.click(button)
    shown = "view.closed, view.count, conn._core.registrations.observers.get('tick') != ()"
    assert room.run(shown).text == "(True, 50, False)"
    assert kernel.widgets[button]["description"] == "Stopped"
    assert kernel.widgets[button]["disabled"]
    assert "(stopped)" in kernel.widgets[page]["value"]


def test_health_is_refreshed_between_cells(room: Room) -> None:
    """Between cells, without a thread; a measured round trip is drawn as a line."""
    kernel = room.kernel
    page, button = kernel.view(room.run("view = health(conn, interval=0.05)\nview"))
    assert "<svg" not in kernel.widgets[page]["value"]
    room.run("conn.ping(20)")

    def line_is_drawn() -> bool:
        room.run("await asyncio.sleep(0.05)")
        return "<svg" in kernel.widgets[page]["value"]

    eventually(line_is_drawn, 20)
    kernel.click(button)
    assert room.run("view.closed").text == "True"
    assert kernel.widgets[button]["description"] == "Stopped"


def test_parallel_calls_and_streams_show_a_progress_bar(room: Room) -> None:
    """As a widget, and without the monitor thread of tqdm."""
    ran = room.run("gather(conn, [('echo', n) for n in range(5)], progress=True)")
    assert ran.text == "[0, 1, 2, 3, 4]"
    assert "application/vnd.jupyter.widget-view+json" in ran.shown[0]
    names = room.run("[type(thread).__name__ for thread in threading.enumerate()]").text
    assert "Monitor" not in names
