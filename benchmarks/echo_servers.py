"""The echo servers of a run, each started at its first use."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import TracebackType

from .affinity import AFFINITY
from .certificate import make_certificate

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


class PackageMissing(Exception):
    """A required package is not installed."""


class EchoServers:
    """The servers of one run; a context manager that stops them.

    Attributes:
        certificate: the certificate of the TLS server, which contestants trust.
    """

    def __init__(self) -> None:
        self._servers: dict[tuple[str, str], tuple[subprocess.Popen[str], int]] = {}
        self._folder = tempfile.TemporaryDirectory()
        self.certificate = Path(self._folder.name) / "certificate.pem"

    def port(self, kind: str) -> int:
        """Return the port of a server, which is started if needed: one for each regime.

        Args:
            kind: a key of `MODULES`.

        Raises:
            PackageMissing: a package that the server needs is not installed.
        """
        key = kind, AFFINITY.regime
        if key not in self._servers:
            self._servers[key] = self._start(kind)
        return self._servers[key][1]

    def _start(self, kind: str) -> tuple[subprocess.Popen[str], int]:
        for name in NEEDS[kind]:
            require(name)
        command = [sys.executable, "-m", MODULES[kind]]
        if kind == "tls":
            if not self.certificate.exists():
                make_certificate(self.certificate)
            command.append(str(self.certificate))
        with AFFINITY.for_server():
            server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert server.stdout is not None
        answer = server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the {kind} server did not start")
        return server, int(answer)

    def __enter__(self) -> EchoServers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server, _ in self._servers.values():
            assert server.stdin is not None
            assert server.stdout is not None
            # A server ends with its stdin (servers/lifetime.py).
            server.stdin.close()
            server.wait(10)
            server.stdout.close()
        self._folder.cleanup()


def require(name: str) -> None:
    """Raise `PackageMissing` if a package is not installed."""
    try:
        import_module(name)
    except ImportError as error:
        raise PackageMissing(f"{name} is not installed") from error
