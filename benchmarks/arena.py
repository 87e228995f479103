"""Where the contestants meet: the echo servers, started when they are first asked for, and where to find them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import TracebackType

from .certificate import make_certificate
from .place import PLACES

ROOT = Path(__file__).parent.parent
MODULES = {
    "websocket": "benchmarks.servers.websocket",
    "tls": "benchmarks.servers.websocket",
    "tcp": "benchmarks.servers.tcp",
    "socketio": "benchmarks.servers.socketio_echo",
    "rpyc": "benchmarks.servers.rpyc_echo",
    "grpc": "benchmarks.servers.grpc_echo",
}
NEEDS = {
    "websocket": ("picows", "uvloop"),
    "tls": ("picows", "uvloop", "cryptography"),
    "tcp": ("uvloop",),
    "socketio": ("socketio", "aiohttp", "uvloop"),
    "rpyc": ("rpyc",),
    "grpc": ("grpc", "uvloop"),
}


class Missing(Exception):
    """A package is not installed."""


class Arena:
    """The servers of one run; a context manager."""

    def __init__(self) -> None:
        self._servers: dict[str, tuple[subprocess.Popen[str], int]] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.certificate = Path(self._folder.name) / "certificate.pem"

    def port(self, kind: str) -> int:
        """Where such a server listens.

        Raises:
            Missing: what it needs is not installed.
        """
        if kind not in self._servers:
            self._servers[kind] = self._start(kind)
        return self._servers[kind][1]

    def _start(self, kind: str) -> tuple[subprocess.Popen[str], int]:
        for name in NEEDS[kind]:
            need(name)
        command = [sys.executable, "-m", MODULES[kind]]
        if kind == "tls":
            make_certificate(self.certificate)
            command.append(str(self.certificate))
        with PLACES.for_server():
            server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert server.stdout is not None
        said = server.stdout.readline()
        if not said:
            raise RuntimeError(f"the {kind} server did not start")
        return server, int(said)

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server, _ in self._servers.values():
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.close()
            server.wait(10)
            server.stdout.close()
        self._folder.cleanup()


def need(name: str) -> None:
    """Raise `Missing` where a package is not installed."""
    try:
        import_module(name)
    except ImportError as error:
        raise Missing(f"{name} is not installed") from error
