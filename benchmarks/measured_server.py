"""A server that is measured: in a process of its own, whose CPU time, memory, descriptors and threads are read here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .echo_servers import ROOT

NODE = Path(__file__).parent / "servers" / "node"
INSTALL_TIMEOUT = 100.0
NEEDS = {"websockets": ("websockets",), "asyncio": ("websockets", "uvloop"), "picows": ("picows", "uvloop")}


class MeasuredServer:
    """Starts an echo server; a context manager that ends it.

    Args:
        name: a key of `benchmarks.servers.echoes.SERVERS`, or ``node``.
        cores: the server runs on these; ``None`` for any.
        seconds: its handlers sleep for so long.
        compression: ``deflate``, or ``None``.
        descriptors: the limit of its descriptors, ``None`` for that of this process.

    Attributes:
        port: its port on 127.0.0.1.

    Raises:
        ImportError: what it needs is not installed.
        RuntimeError: it did not start.
    """

    def __init__(
        self,
        name: str,
        cores: Sequence[int] | None,
        *,
        seconds: float = 0.0,
        compression: str | None = None,
        descriptors: int | None = None,
    ) -> None:
        for package in NEEDS.get(name, ()):
            import_module(package)
        options = [str(seconds), compression or "", str(descriptors or "")]
        command = [sys.executable, "-m", "benchmarks.servers.echoes", name, *options]
        environment = dict(os.environ)
        if name == "node":
            command = ["node", str(NODE / "echo.js")]
            environment["NODE_PATH"] = str(_install_node_packages())
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server {name} did not start")
        self.port = int(answer)
        if cores is not None:
            for thread in os.listdir(f"/proc/{self._process.pid}/task"):
                os.sched_setaffinity(int(thread), cores)

    @property
    def cpu(self) -> float:
        """The CPU seconds of all of its threads."""
        # The clock of another process (man 3 clock_getcpuclockid).
        return time.clock_gettime((~self._process.pid << 3) | 2)

    @property
    def memory(self) -> float:
        """Private memory in KiB."""
        lines = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

    @property
    def descriptors(self) -> int:
        """The number of its open descriptors."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    @property
    def threads(self) -> int:
        """The number of its threads."""
        return len(os.listdir(f"/proc/{self._process.pid}/task"))

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _install_node_packages() -> Path:
    """Install `ws` for Node once on this machine, and return the folder of its modules.

    Raises:
        ImportError: it cannot be installed.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        raise ImportError("node and npm are not installed")
    folder = Path(tempfile.gettempdir()) / "owlsocket-benchmarks-node"
    if not (folder / "node_modules" / "ws").exists():
        folder.mkdir(exist_ok=True)
        (folder / "package.json").write_bytes((NODE / "package.json").read_bytes())
        try:
            command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_TIMEOUT)
        except (OSError, subprocess.SubprocessError) as error:
            raise ImportError(f"the package ws of Node cannot be installed: {error}") from error
    return folder / "node_modules"
