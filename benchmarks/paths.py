"""Count the files of the package that a call, an event and a lost link pass through: ``python -m benchmarks.paths``.

A profile function notes the file of every function of the package that is entered, on any thread. The server speaks
through another library, so no file of the package is entered on the server's side. Each path is recorded several times
on warm connections, because the threads of the client take turns in different ways: a file counts if it is in every
record. The others are named, too: of timers, for example, which happened to run meanwhile.

A lost link is recorded from the reset to the ``except`` line of the caller: on all threads until the outcome of the
call is set, then on the thread of the caller alone. The reader goes on at that moment: it logs, tells listeners, closes
the descriptor and plans the next attempt. None of that is on the way of the failure, which does not wait for it. How
much of it runs before the caller's thread gets the interpreter is a matter of chance.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

import owlsocket_sync
from owlsocket_sync import Connection, EventMessage, SocketConnectionError, connect
from owlsocket_sync.protocol.calls import BlockingCall

PACKAGE = Path(owlsocket_sync.__file__).parent
GOALS = {"blocking call": 12, "event": 12, "lost link": 12}
WARM_UP = 20
REPEATS = 20
QUIET = 0.05
"""Seconds without a call before an event is sent: its path is that on an idle connection."""

OUTCOME = BlockingCall.complete.__code__
TIMEOUT = 10.0
RESET = struct.pack("ii", 1, 0)
"""``struct linger`` with a timeout of 0: closing the socket sends RST."""


class Recorder:
    """Records the files of the package whose functions are entered.

    Once the outcome of a call is set, only the thread that entered the recorder is recorded, which makes the calls.
    """

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._recording = False
        self._caller = threading.get_ident()
        self._has_outcome = False

    def __enter__(self) -> Recorder:
        # Before Python 3.12, a thread that runs already cannot be profiled from outside: enter before connecting.
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._recording = False
        sys.setprofile(None)
        threading.setprofile(None)

    def start(self) -> None:
        """Start a new record."""
        self._files = set()
        self._has_outcome = False
        self._recording = True

    def stop(self) -> list[str]:
        """End the record, and return its files, relative to the package."""
        self._recording = False
        return sorted(
            Path(file).relative_to(PACKAGE).as_posix() for file in self._files if file.startswith(f"{PACKAGE}/")
        )

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        if not self._recording:
            return
        if event == "return":
            self._has_outcome = self._has_outcome or frame.f_code is OUTCOME
        elif event == "call" and not (self._has_outcome and threading.get_ident() != self._caller):
            self._files.add(frame.f_code.co_filename)


class Peer:
    """A server for one client after the other, in a thread of this process; a context manager.

    It answers the calls ``echo`` (its argument) and ``event`` (``None``, then the event ``tick``), and resets the
    connection at the call ``reset``.

    Args:
        on_event: called right before an event is sent.
        on_reset: called right before a connection is reset.
    """

    def __init__(self, on_event: Callable[[], None], on_reset: Callable[[], None]) -> None:
        self._on_event = on_event
        self._on_reset = on_reset
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Return the URL of the server."""
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}/"

    def __enter__(self) -> Peer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # close() alone would not end an accept() that waits.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                self._talk(sock, ServerProtocol())

    def _talk(self, sock: socket.socket, protocol: ServerProtocol) -> None:
        while data := sock.recv(65_536):
            protocol.receive_data(data)
            for received in protocol.events_received():
                if isinstance(received, Request):
                    protocol.send_response(protocol.accept(received))
                elif isinstance(received, Frame) and received.opcode is not Opcode.TEXT:
                    continue
                elif isinstance(received, Frame) and not self._answer(sock, protocol, orjson.loads(received.data)):
                    return
            self._flush(sock, protocol)

    def _answer(self, sock: socket.socket, protocol: ServerProtocol, call: dict[str, Any]) -> bool:
        """Answer a call; return whether the connection is still open."""
        if call["method"] == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._on_reset()
            return False
        payload = call["payload"][0] if call["method"] == "echo" else None
        protocol.send_text(orjson.dumps({"id": call["id"], "type": "result", "payload": payload}))
        self._flush(sock, protocol)
        if call["method"] == "event":
            time.sleep(QUIET)
            self._on_event()
            protocol.send_text(b'{"event":"tick","payload":1,"type":"event"}')
        return True

    @staticmethod
    def _flush(sock: socket.socket, protocol: ServerProtocol) -> None:
        for data in protocol.data_to_send():
            sock.sendall(data)


def record_call(recorder: Recorder, connection: Connection) -> list[str]:
    """Return the files of one blocking call, from the caller's line and back to it."""
    recorder.start()
    connection.call("echo", "x")
    return recorder.stop()


def record_event(recorder: Recorder, connection: Connection) -> list[str]:
    """Return the files of one event, from the socket to its handler."""
    records: list[list[str]] = []
    handled = threading.Event()

    def handle(message: EventMessage) -> None:
        records.append(recorder.stop())
        handled.set()

    with connection.observe("tick", handle):
        connection.call("event")
        if not handled.wait(TIMEOUT):
            raise RuntimeError("the event did not arrive")
    return records[0]


def record_lost_link(recorder: Recorder, connection: Connection) -> list[str]:
    """Return the files of one lost link, from the reset to the ``except`` line of the call that fails."""
    try:
        connection.call("reset")
    except SocketConnectionError:
        return recorder.stop()
    raise RuntimeError("the call was answered")


def record_paths(repeats: int = REPEATS) -> dict[str, Counter[str]]:
    """Return the files of each path, by its name, with the number of records that they are in."""
    paths = {"blocking call": record_call, "event": record_event, "lost link": record_lost_link}
    counters: dict[str, Counter[str]] = {name: Counter() for name in paths}
    with Recorder() as recorder, Peer(on_event=recorder.start, on_reset=recorder.start) as peer:
        for _ in range(repeats):
            # A connection for each round: the lost link comes last, and reconnecting would wait longer each time.
            with connect(peer.url, call_timeout=TIMEOUT) as connection:
                for name, record in paths.items():
                    for _ in range(WARM_UP):
                        connection.call("echo", "x")
                    counters[name].update(record(recorder, connection))
    return counters


def main() -> None:
    """Print the number of files of each path, and the files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paths", description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS, help="how many times each path is recorded")
    repeats = parser.parse_args().repeats
    for name, counter in record_paths(repeats).items():
        files = sorted(file for file, records in counter.items() if records == repeats)
        print(f"{name}: {len(files)} files (goal: at most {GOALS[name]})")
        for file in files:
            print(f"    {file}")
        if others := sorted(set(counter) - set(files)):
            print(f"  in some records: {', '.join(others)}")


if __name__ == "__main__":
    main()
