"""Both of our ends as the echo that the Autobahn testsuite tests: ``python -m rfc6455.autobahn SIDE FOLDER WSTEST...``.

Runs in a network namespace of its own, since the server of the testsuite listens on all interfaces. The reports are
left in the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import queue
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from owlsocket_sync import Deflate, Limits
from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import ResilientError
from owlsocket_sync.protocol.carrier import CarrierEvents
from owlsocket_sync.runtime.link import Link
from owlsocket_sync.server.handshakes import Handshake
from owlsocket_sync.server.options import ServerOptions
from owlsocket_sync.server.upgrade import Upgrade
from owlsocket_sync.transport.client_handshake import ClientHandshake
from owlsocket_sync.transport.dial import dial
from owlsocket_sync.transport.frames import BINARY
from owlsocket_sync.transport.framing import ClientFraming, Framing
from owlsocket_sync.urls import parse
from support.helpers import eventually

AGENT, HOST, PORT = "owlsocket_sync", "127.0.0.1", 9001
COMPRESSION = Deflate(min_size=0)
LIMITS = Limits(message_size=1 << 26)
READ_SIOCGIFFLAGS, SET_SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


class Echo:
    """A link that sends back each message, as what it came as.

    Attributes:
        messages: what was received, where nothing is sent back.
    """

    def __init__(self, framing: Framing, *, silent: bool = False) -> None:
        self._framing = framing
        self._silent = silent
        self._unsent: queue.Queue[str | bytes | None] = queue.Queue()
        self.messages: list[str | bytes] = []
        self._link = Link(framing, 1, cast(CarrierEvents, self), None)

    def run(self) -> None:
        """Echo until the link ends."""
        writer = threading.Thread(target=self._write)
        writer.start()
        over = threading.Event()
        self._link.attach(lambda info: over.set(), lambda: True)
        over.wait()
        self._link.release()
        self._unsent.put(None)
        writer.join()

    def _write(self) -> None:
        while (message := self._unsent.get()) is not None:
            framing = self._framing
            # Binary messages are never deflated: nothing sends them but this echo.
            if isinstance(message, str):
                frame = framing.text_frame(message.encode())[0]
            else:
                frame = framing.frame(BINARY, message)
            with contextlib.suppress(ResilientError):  # the link has ended
                self._link._writer.write(frame, Deadline(60))

    def receive(self, text: str | bytes, link: int) -> None:
        """Take a message."""
        if self._silent:
            self.messages.append(text)
        else:
            self._unsent.put(text)

    def try_complete(self, text: str) -> None:
        """Leave every message to `receive`."""

    def has_room(self) -> bool:
        """Read on while few messages are unsent."""
        return self._unsent.qsize() < 1000

    def count_wire(self, received: int, sent: int) -> None:
        """Count nothing."""

    def run_timers(self, now: float) -> float:
        """Have no timers."""
        return math.inf


def open_client(resource: str, *, silent: bool = False) -> Echo:
    """Open a link to the server of the testsuite."""
    target, deadline = parse(f"ws://{HOST}:{PORT}{resource}"), Deadline(10)
    framing = ClientFraming(dial(target, deadline), LIMITS.message_size)
    ClientHandshake(framing, COMPRESSION).upgrade(target, {}, deadline.at)
    return Echo(framing, silent=silent)


def serve_client(sock: socket.socket) -> None:
    """Serve one client of the testsuite; some break off within the request."""
    with contextlib.suppress(OSError):
        upgrade = Upgrade(
            Handshake(sock, sock.getpeername()[:2]), ServerOptions(limits=LIMITS, compression=COMPRESSION), lambda: True
        )
        upgrade.open_stream()
        if upgrade.read_request() is not None:
            upgrade.accept()
            Echo(upgrade.make_framing()).run()


def listens() -> bool:
    """Look for the server of the testsuite."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, PORT)):
        return True
    return False


def run_client(wstest: Callable[[str], subprocess.Popen[bytes]]) -> None:
    """Be the client of all cases."""
    server = wstest("fuzzingserver")
    try:
        eventually(listens, 30)
        counting = open_client("/getCaseCount", silent=True)
        counting.run()
        for number in range(1, int(counting.messages[0]) + 1):
            open_client(f"/runCase?case={number}&agent={AGENT}").run()
        open_client(f"/updateReports?agent={AGENT}", silent=True).run()
    finally:
        server.terminate()
        server.wait()


def run_server(wstest: Callable[[str], subprocess.Popen[bytes]]) -> None:
    """Be the server of all cases."""

    def accept() -> None:
        while True:
            threading.Thread(target=serve_client, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server((HOST, PORT)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        if wstest("fuzzingclient").wait():
            raise RuntimeError("the client of the testsuite failed")


def bring_loopback_up() -> None:
    """Bring up the only interface of a new namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(sock, READ_SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, SET_SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | IFF_UP))


def main() -> None:
    """Run all cases against one side."""
    side, folder, *command = sys.argv[1:]
    cases = json.loads(Path(folder, "cases.json").read_text(encoding="utf-8"))
    url = f"ws://{HOST}:{PORT}"
    spec = {**cases, "url": url, "servers": [{"agent": AGENT, "url": url}], "outdir": folder, "exclude-agent-cases": {}}
    Path(folder, "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    bring_loopback_up()

    def wstest(mode: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, "-m", mode, "-s", "spec.json"], cwd=folder, stdout=subprocess.DEVNULL)

    (run_client if side == "client" else run_server)(wstest)


if __name__ == "__main__":
    main()
