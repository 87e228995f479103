"""In a real kernel: interrupts, cells that run twice, and views that are stopped from the page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html import unescape

import pytest
from child_processes import Child, environment, script
from helpers import eventually, scaled
from kernels import Kernel, Ran

WAITING = {
    "a call": "conn.call('slow', timeout=60)",
    "an event": "conn.call('say', 'waits'); next(conn.events('never', timeout=60))",
    "a stream": "next(conn.stream('slow', timeout=60))",
    "a frame of events": "events_frame(conn, 'never', limit=1, timeout=60, start=lambda: conn.call('say', 'waits'))",
    "a frame of the queue": "conn.call('say', 'waits'); queue_frame(conn, timeout=60)",
    "parallel calls": "gather(conn, ['quiet', ('say', 'waits')], timeout=60)",
    "a row of pings": "conn.call('say', 'waits'); latencies(conn, count=100, every=60)",
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
        """Wait until the server says this."""
        while self.server.line() != word:
            pass

    def run(self, cell: str) -> Ran:
        """Run a cell to its end."""
        return self.kernel.run(cell)

    def connections(self) -> int:
        """How many the server has."""
        return int(self.run("conn.call('count', timeout=20)").text)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    """One for all tests here, since a kernel takes its time to start."""
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
    """The very same link goes on, and nothing is pending."""
    cell = room.kernel.start(WAITING[waiting])
    room.heard("waits")
    assert room.kernel.interrupt(cell).error == "KeyboardInterrupt"
    ran = room.run("conn.call('echo', 'still here', timeout=20), conn.stats.reconnects")
    assert ran.text == "('still here', 0)"
    assert room.connections() == 1
    eventually(lambda: room.run("conn.stats.pending").text == "0")
    room.run("conn.call('release')\nconn.call('say', 'next')")
    room.heard("next")


def test_what_was_taken_of_the_queue_goes_back_when_the_kernel_is_interrupted(room: Room) -> None:
    """In its order."""
    room.run("conn.call('push', 3)\nnoted = lambda payload: [conn.notify('note', f'n{payload[\"number\"]}')]")
    cell = room.kernel.start("queue_frame(conn, timeout=60, filter=noted)")
    room.heard("n2")
    assert room.kernel.interrupt(cell).error == "KeyboardInterrupt"
    assert room.run("queue_frame(conn, limit=3, timeout=20).number.tolist()").text == "[0, 1, 2]"
    assert room.run("conn.enqueued()").text == "0"


def test_a_cell_that_runs_twice_leaves_one_connection(room: Room) -> None:
    """And no thread more."""
    cell = "conn = connect(url, name='nb', replace=True)\nconn.call('echo', 1)"
    assert room.run(cell).text == room.run(cell).text == "1"
    eventually(lambda: room.connections() == 1)
    ran = room.run("[one.name for one in threading.enumerate() if one.name.endswith('-reader')]")
    assert ran.text == "['nb-reader']"


def test_a_connection_that_is_forgotten_is_told_of(room: Room) -> None:
    """Where the extension is loaded, on the page."""
    ran = room.run("other = connect(url, name='other')\nother = None\ngc.collect()\n'done'")
    assert "ResourceWarning: connection 'other' to ws://127.0.0.1" in ran.printed
    room.run("connect(url, name='other', replace=True).close()")
    eventually(lambda: room.connections() == 1)


def test_a_connection_works_where_an_event_loop_runs(room: Room) -> None:
    """It needs none, and blocks like anything else that does."""
    ran = room.run("await asyncio.sleep(0)\nasyncio.get_running_loop() and conn.call('echo', 'in a loop')")
    assert ran.text == "'in a loop'"


def test_what_is_raised_is_told_in_a_card_beneath_its_traceback(room: Room) -> None:
    """And an error that is a value as a card alone."""
    ran = room.kernel.finish(room.kernel.start("conn.call('nothing of this name')"))
    assert ran.error == "SocketUnsupported"
    assert "What to do" in ran.shown[0]["text/html"]
    ran = room.run("conn.submit('nothing of this name').exception()")
    assert "What to do" in ran.shown[0]["text/html"]
    assert ran.text.startswith("<SocketUnsupported")
    assert "(open)" in room.run("conn").shown[0]["text/html"]


def test_what_was_loaded_can_be_unloaded(room: Room) -> None:
    """Then a traceback is all there is, and nobody is told of what was forgotten."""
    room.run("%unload_ext owlsocket_sync.contrib.jupyter")
    ran = room.kernel.finish(room.kernel.start("conn.call('nothing of this name')"))
    assert (ran.error, ran.shown) == ("SocketUnsupported", [])
    ran = room.run("other = connect(url, name='other')\nother = None\ngc.collect()\n'done'")
    assert ran.printed == ""
    room.run("connect(url, name='other', replace=True).close()\n%load_ext owlsocket_sync.contrib.jupyter")


def test_a_terminal_gets_the_traceback_alone() -> None:
    """Which can show no card."""
    source = (
        "%load_ext owlsocket_sync.contrib.jupyter\nimport owlsocket_sync\nraise owlsocket_sync.SocketTimeout('late')"
    )
    command = [sys.executable, "-m", "IPython", "--no-banner", "--HistoryManager.enabled=False", "-c", source]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(30), env=environment(""))
    assert "socket:timeout:late" in ran.stdout + ran.stderr
    assert "HTML" not in ran.stdout


def test_events_are_seen_live_until_the_button_is_pressed(room: Room) -> None:
    """On the page: the last one of a burst too, once no cell runs."""
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
    assert room.run("view.closed, view.count, 'tick' in conn._observers.keys()").text == "(True, 50, False)"
    assert kernel.widgets[button]["description"] == "Stopped"
    assert kernel.widgets[button]["disabled"]
    assert "(stopped)" in kernel.widgets[page]["value"]


def test_health_is_looked_at_again_and_again(room: Room) -> None:
    """Between cells, without a thread of its own; a round trip that was measured makes a line."""
    kernel = room.kernel
    page, button = kernel.view(room.run("view = health(conn, every=0.05)\nview"))
    assert "<svg" not in kernel.widgets[page]["value"]
    room.run("conn.ping(20)")

    def line_is_drawn() -> bool:
        room.run("await asyncio.sleep(0.05)")
        return "<svg" in kernel.widgets[page]["value"]

    eventually(line_is_drawn, 20)
    kernel.click(button)
    assert room.run("view.closed").text == "True"
    assert kernel.widgets[button]["description"] == "Stopped"


def test_a_bar_is_shown_over_parallel_calls_and_streams(room: Room) -> None:
    """As a widget, and without the thread that watches over bars."""
    ran = room.run("gather(conn, [('echo', n) for n in range(5)], progress=True)")
    assert ran.text == "[0, 1, 2, 3, 4]"
    assert "application/vnd.jupyter.widget-view+json" in ran.shown[0]
    names = room.run("[type(one).__name__ for one in threading.enumerate()]").text
    assert "Monitor" not in names
