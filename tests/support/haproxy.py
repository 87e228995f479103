"""An haproxy in front of a server of this machine."""

from __future__ import annotations

import csv
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.child_processes import Child
from support.helpers import eventually, scaled
from support.sockets import free_port

HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="no haproxy on this machine: apt-get install haproxy")

CONFIG = """
global
    stats socket {folder}/haproxy.sock
    stats timeout 10s
defaults
    mode {mode}
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s
    timeout check 5s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    {options}
    default-server inter 100ms fastinter 100ms downinter 100ms rise 1 fall 1
    server owl 127.0.0.1:{target} {server}
"""


class Haproxy:
    """One that runs.

    Attributes:
        port: at which it listens.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._control = str(folder / "haproxy.sock")

    def checks(self) -> dict[str, str]:
        """What it says about its server: the columns of its statistics."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(scaled(5))
            control.connect(self._control)
            control.sendall(b"show stat\n")
            rows = csv.DictReader(control.makefile().read().removeprefix("# ").splitlines())
            return next(row for row in rows if row["svname"] == "owl")


@contextmanager
def haproxy(folder: Path, target: int, *, mode: str = "http", options: str = "", server: str = "") -> Iterator[Haproxy]:
    """Run one before a port of this machine; with lines of its backend, and words of its line for the server."""
    assert HAPROXY is not None
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(CONFIG.format(folder=folder, port=port, target=target, mode=mode, options=options, server=server))

    def listens() -> bool:
        with socket.socket() as peer:
            return peer.connect_ex(("127.0.0.1", port)) == 0 and (folder / "haproxy.sock").exists()

    with Child([HAPROXY, "-db", "-f", str(config)]):
        eventually(listens, 20)
        yield Haproxy(port, folder)
