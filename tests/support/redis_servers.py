"""A real Redis for a test: started on a free port with a folder of its own, killed, and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from support.helpers import scaled

PATIENCE = 20.0


def redis_program() -> str:
    """The path of ``redis-server``; the test is skipped where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server here: apt-get install redis-server")
    return program


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


class RedisServer:
    """A Redis; a context manager.

    Args:
        folder: for its files.
        fsync: ``always`` or ``everysec``: it keeps a log of all writes; without, a restart leaves it empty.
        options: more words of its command line.
        config: a file that makes it a Sentinel.

    Attributes:
        url: where it is.
    """

    def __init__(self, folder: Path, fsync: str | None = None, *options: str, config: Path | None = None) -> None:
        self._program = redis_program()
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        log = ("--appendonly", "yes", "--appendfsync", fsync) if fsync else ("--appendonly", "no")
        self._options = ("--save", "", *log, *options) if config is None else (*options, "--sentinel")
        self._config = () if config is None else (str(config),)

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        command = [self._program, *self._config, *place, "--logfile", "redis.log", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + scaled(PATIENCE)
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self.folder / "redis.log").read_text(encoding="utf-8"))
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except OSError:
            return False
        except Exception as error:
            if type(error).__name__ not in ("ConnectionError", "BusyLoadingError", "TimeoutError"):
                raise
            return False

    def client(self) -> Any:
        """A client of it, which repeats nothing."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        retry = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, socket_timeout=scaled(5), socket_connect_timeout=scaled(5), retry=retry)

    def kill(self) -> None:
        """Kill it at once (``SIGKILL``)."""
        self._process.kill()
        self._process.wait(scaled(PATIENCE))

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()
