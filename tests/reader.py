"""Somebody who does what a page says, in an empty directory: writes its files, types its code, runs its commands."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from helpers import scaled
from pages import Block, commands_of, fits, printed_by, without_installing

ROOT = Path(__file__).parent.parent
SECONDS = 60.0

# One namespace for all of a page. What a block prints goes to a file, so that threads and children may print too.
SESSION = """
import contextlib, json, sys, traceback, types
module = types.ModuleType('__main__')
sys.modules['__main__'] = module
for line in sys.stdin:
    code, name, out = json.loads(line)
    error = ''
    with open(out, 'a') as file, contextlib.redirect_stdout(file):
        try:
            exec(compile(code, name, 'exec'), module.__dict__)
        except BaseException:
            error = traceback.format_exc()
    sys.__stdout__.write(json.dumps(error) + '\\n')
    sys.__stdout__.flush()
"""


class Reader:
    """Follows one page; a context manager, at whose end nothing runs on.

    Args:
        directory: where it types; empty.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: list[subprocess.Popen[Any]] = []
        self._session: subprocess.Popen[str] | None = None
        self._outputs = 0
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(directory)}
        for name in ("OWLSOCKET_URL", "PYTHONWARNINGS", "DJANGO_SETTINGS_MODULE"):
            self._environment.pop(name, None)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
            if child.stdin is not None:
                child.stdin.close()
            if child.stdout is not None:
                child.stdout.close()

    def follow(self, block: Block) -> None:
        """Do what a block shows; raises `AssertionError` when what comes of it is something else."""
        if block.title is not None:
            file = self._directory / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._type(block)
        elif block.language == "sh":
            script = without_installing(block.text)
            code, printed = self._run(script)
            assert code == 0, f"line {block.line}: {script}\nended with {code}:\n{printed}"
        else:
            for command in commands_of(block.text):
                _, printed = self._run(without_installing(command.line))
                assert fits(command.expected, printed), (
                    f"line {block.line}: {command.line}\nprinted:\n{printed}\nin place of:\n{command.expected}"
                )

    # -- Python --------------------------------------------------------------------------------------------------------

    def _type(self, block: Block) -> None:
        if self._session is None:
            self._session = self._start([sys.executable, "-c", SESSION], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._session.stdin is not None
        assert self._session.stdout is not None
        out = self._output()
        name = f"the block at line {block.line}"
        self._session.stdin.write(json.dumps([block.text, name, str(out)]) + "\n")
        self._session.stdin.flush()
        ready, _, _ = select.select([self._session.stdout], [], [], scaled(SECONDS))
        assert ready, f"{name} did not end within {SECONDS:g} s"
        answer = self._session.stdout.readline()
        assert answer, f"{name} ended the interpreter"
        error = json.loads(answer)
        assert not error, f"{name} raised:\n{error}"
        printed = out.read_text(encoding="utf-8")
        lines = iter(printed.splitlines())
        for expected in printed_by(block.text):
            assert any(fits(expected, line) for line in lines), f"{name} did not print {expected!r}, but:\n{printed}"

    # -- commands ------------------------------------------------------------------------------------------------------

    def _run(self, script: str) -> tuple[int, str]:
        """The status of a script and what it printed; what it starts in the background goes on."""
        out = self._output()
        with out.open("w") as file:
            child = self._start(
                ["bash", "-ec", script], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
            code = child.wait(scaled(SECONDS))
        return code, out.read_text(encoding="utf-8")

    def _start(self, command: list[str], **streams: Any) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            command, cwd=self._directory, env=self._environment, text=True, start_new_session=True, **streams
        )
        self._children.append(child)
        return child

    def _output(self) -> Path:
        self._outputs += 1
        return self._directory.with_name(f"{self._directory.name}-printed-{self._outputs}")


def follow(page_blocks: list[Block], directory: Path) -> float:
    """Follow a page; the seconds that it took."""
    began = time.monotonic()
    with Reader(directory) as reader:
        for block in page_blocks:
            if block.runs:
                reader.follow(block)
    return time.monotonic() - began
