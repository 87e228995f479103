"""``owlsocket`` as somebody runs it: in a process of its own, with pipes or in front of a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from support.helpers import scaled

OWLSOCKET = [sys.executable, "-m", "owlsocket_sync"]
PATIENCE = 20.0
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


def run(
    *arguments: str, env: dict[str, str] | None = None, stdin: str | bytes = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``owlsocket`` in a process of its own."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    ran = subprocess.run(
        [*OWLSOCKET, *arguments],
        capture_output=True,
        timeout=scaled(PATIENCE),
        env={**os.environ, **(env or {})},
        input=data,
    )
    return subprocess.CompletedProcess(ran.args, ran.returncode, ran.stdout.decode(), ran.stderr.decode())


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Have ``owlsocket`` run meanwhile; it is killed at the end."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*OWLSOCKET, *arguments], stdout=pipe, stderr=pipe, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr, once it has ended."""
    out, err = process.communicate(timeout=scaled(PATIENCE))
    return process.returncode, out, err


def answers(result: subprocess.CompletedProcess[str]) -> list[Any]:
    """What came on stdout, where each line must be JSON, and nothing may be on stderr."""
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.split("\n")[:-1]]


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """The one line on stderr; stdout must be empty."""
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


class Terminal:
    """``owlsocket`` in front of a pseudo-terminal; a context manager that leaves no process.

    Args:
        arguments: of the command.
        env: added to the environment.
        stdin: whether that is the terminal; nothing comes else.
        stdout: whether that is the terminal; a pipe else.
    """

    def __init__(
        self, *arguments: str, env: dict[str, str] | None = None, stdin: bool = True, stdout: bool = True
    ) -> None:
        self._near, far = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [*OWLSOCKET, *arguments],
            stdin=far if stdin else subprocess.DEVNULL,
            stdout=far if stdout else subprocess.PIPE,
            stderr=far,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **(env or {})},
            start_new_session=True,
        )
        os.close(far)

    @property
    def words(self) -> str:
        """What was shown, without what steers the terminal."""
        return _STEERING.sub("", self.shown).replace("\r\n", "\n")

    def enter(self, text: str) -> None:
        """Type."""
        os.write(self._near, text.encode())

    def await_words(self, words: str, times: int = 1) -> None:
        """Wait until something was shown, so many times."""
        end = time.monotonic() + scaled(PATIENCE)
        while self.words.count(words) < times:
            assert self._read(end), f"{words!r} was not shown: {self.words!r}"

    def _read(self, end: float) -> bool:
        if not select.select([self._near], [], [], max(0.0, end - time.monotonic()))[0]:
            return False
        with suppress(OSError):  # the other end is closed
            data = os.read(self._near, 65_536)
            self.shown += data.decode("utf-8", "replace")
            return bool(data)
        return False

    def take(self, seconds: float) -> None:
        """Take what is shown within so many seconds."""
        end = time.monotonic() + scaled(seconds)
        while self._read(end):
            pass

    def finish(self) -> int:
        """Wait for the end, and return the exit code."""
        end = time.monotonic() + scaled(PATIENCE)
        while self._read(end):
            pass
        return self.process.wait(scaled(PATIENCE))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(scaled(PATIENCE))
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._near)
