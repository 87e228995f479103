"""What tests under load share: two ends of one link in either role, a raw peer to talk to, programs, and memory."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from owlsocket_sync import Connection, connect
from owlsocket_sync.server import Request, serve
from support.helpers import scaled
from support.sockets import TEXT, ByteServer, RawPeer, frame

MIB = 1024 * 1024
TESTS = Path(__file__).parents[1]


def memory(what: str = "VmRSS", process: int | str = "self") -> int:
    """Bytes of memory that a process takes now (``VmRSS``), or took at most (``VmHWM``)."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(what)


def said(kind: str, **fields: object) -> bytes:
    """A message as a raw server sends it."""
    return frame(TEXT, json.dumps({"type": kind, **fields}).encode())


def heard(peer: RawPeer) -> Any:
    """The next message that a raw server gets, control frames passed over."""
    while True:
        came = peer.read_frame()
        if came.opcode == TEXT:
            return json.loads(came.payload)


@contextmanager
def talking(**options: Any) -> Iterator[tuple[Connection, RawPeer]]:
    """A client, and the raw server that it is connected to."""
    peers: queue.Queue[RawPeer] = queue.Queue()
    over = threading.Event()

    def script(peer: RawPeer) -> None:
        peer.upgrade()
        peers.put(peer)
        over.wait()

    with ByteServer(script) as server, contextlib.ExitStack() as stack:
        stack.callback(over.set)
        conn = connect(server.url, **{"reconnect": None, **options})
        stack.callback(conn.close, timeout=0.5)
        yield conn, peers.get(timeout=scaled(5))


@contextmanager
def both_ends(performer: str, workers: int = 1, **options: Any) -> Iterator[tuple[Connection, Connection]]:
    """The end that asks and the end that performs: ``performer`` says whether that is the client or the server."""
    served: queue.Queue[Connection] = queue.Queue()

    def handler(conn: Connection, request: Request) -> None:
        served.put(conn)

    with (
        serve(handler, workers=workers) as server,
        connect(server.url, workers=workers, reconnect=None, **options) as client,
    ):
        theirs = served.get(timeout=scaled(5))
        yield (theirs, client) if performer == "client" else (client, theirs)


@contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module of this folder, run as a program in a process of its own; it is over when the block is left."""
    command = [sys.executable, "-m", f"support.{name}", *arguments]
    path = os.pathsep.join(map(str, (TESTS, TESTS.parent)))
    environment = {**os.environ, "PYTHONPATH": path}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()
