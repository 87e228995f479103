"""Runs a page from top to bottom in an empty directory, as one who reads it would, and tells what is not as it says.

By hand: ``python -m docs.running PAGE`` with ``tests`` on the ``PYTHONPATH``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from docs.blocks import Block, PageError, blocks_of, runs, without_installs
from docs.promises import Printed, Typed, is_as_promised, printed_by, typed_in

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
FOREIGN = ("PYTEST_", "COV_", "COVERAGE_", "OWLSOCKET_", "PYTHONWARNINGS", "FLASK_", "DJANGO_")


class Reader:
    """Reads one page; a context manager that ends all that the page started.

    Args:
        place: an empty directory for the files of the page.
        notes: another, for what is noted about it.
        seconds: for the page as a whole.
        patience: seconds that what is printed behind the scenes may take.
        scale: how much slower than usual this machine is.
    """

    def __init__(self, place: Path, notes: Path, *, seconds: float, patience: float, scale: float) -> None:
        self.place = place.resolve()
        self._prints = notes / "prints"
        self._output = notes / "output"
        self._patience = patience * scale
        self._end = time.monotonic() + seconds * scale
        self._seconds = seconds * scale
        self._promises: list[tuple[str, Printed]] = []
        self._written: set[str] = set()
        self._started = 0

    def __enter__(self) -> Reader:
        answers, theirs = os.pipe()
        commands, ours = os.pipe()
        self._prints.touch()
        self._output.touch()
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-W", "error", str(HERE / "reader.py"), str(theirs), str(commands)],
                pass_fds=(theirs, commands), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self.place, env=self._environment(), start_new_session=True,
            )  # fmt: skip
        os.close(theirs)
        os.close(commands)
        self._answers = open(answers, "rb", buffering=0)
        self._commands = open(ours, "wb", buffering=0)
        return self

    def _environment(self) -> dict[str, str]:
        """As the user's, with this package found first, and nothing of whoever runs us."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        paths = [str(HERE / "watch"), str(ROOT), *filter(None, [own.get("PYTHONPATH")])]
        return {
            **own,
            "HOME": str(self._prints.parent),
            "PAGE_DIRECTORY": str(self.place),
            "PAGE_NOTES": str(self._prints),
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), own.get("PATH", os.defpath)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError, PermissionError):  # some systems say so of a group that has ended
            os.killpg(self._process.pid, signal.SIGKILL)  # not waited for yet, so the number is still its own
        self._process.wait()
        self._commands.close()
        self._answers.close()

    def read(self, block: Block) -> None:
        """Do what a block shows. Raises `PageError` when it is not as the page says."""
        if block.title is not None:
            self._write(block)
        elif block.language == "python":
            self._promises += [(f"<page {block.line}>", promise) for promise in printed_by(block.text, block.line - 1)]
            self._type(block.line, {"python": block.text, "line": block.line})
        elif block.language == "sh":
            self._shell(block.line, without_installs(block.text))
        else:
            for typed in typed_in(block.text):
                self._console(block.line, typed)

    def _write(self, block: Block) -> None:
        assert block.title is not None
        path = (self.place / block.title).resolve()
        if not path.is_relative_to(self.place):
            raise PageError(f"line {block.line}: {block.title} is outside of the page's directory")
        if block.title in self._written:
            self._settle(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text + "\n", encoding="utf-8")
        self._written.add(block.title)
        if block.language == "python":
            self._promises += [(block.title, promise) for promise in printed_by(block.text)]

    def _type(self, line: int, command: dict[str, Any]) -> None:
        with suppress(BrokenPipeError):  # told below, by the answer that does not come
            self._commands.write(json.dumps(command).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            left = self._end - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise PageError(f"line {line}: the page took longer than {self._seconds:g} s\n{self.output()}")
            piece = os.read(self._answers.fileno(), 65536)
            if not piece:
                raise PageError(f"line {line}: the session ended\n{self.output()}")
            answer += piece
        failed = json.loads(answer)["failed"]
        if failed:
            raise PageError(f"line {line}: {failed}\n{self.output()}")

    def _shell(self, line: int, script: str) -> None:
        if script.strip():
            self._type(line, {"shell": script, "to": str(self._output)})

    def _console(self, line: int, typed: Typed) -> None:
        if not without_installs(typed.command).strip():
            return
        self._started += 1
        output = self._output.with_name(f"console{self._started}")
        script = f"set +e\n{typed.command}\n:"  # what it prints is told, and so may be how it fails
        self._type(line, {"shell": script, "to": str(output)})

        def is_right() -> bool:
            return is_as_promised(typed.output, output.read_text(encoding="utf-8"))

        if not self._comes_true(is_right, in_time=typed.command.rstrip().endswith("&")):
            came = output.read_text(encoding="utf-8")
            raise PageError(f"line {line}: $ {typed.command}\nshould print\n{typed.output}\nand printed\n{came}")

    def settle(self) -> None:
        """See that all was printed that was promised; what threads and servers print may take a moment."""
        self._settle(None)

    def _settle(self, name: str | None) -> None:
        due = [(place, promise) for place, promise in self._promises if name in (None, place)]
        if not self._comes_true(lambda: not self._broken(due), in_time=True):
            raise PageError("\n".join(self._broken(due)) + "\n" + self.output())
        self._promises = [pair for pair in self._promises if pair not in due]
        if name is not None:  # its next version has other lines
            kept = [note for note in self._notes() if note[0] != name]
            self._prints.write_text("".join(json.dumps(note) + "\n" for note in kept), encoding="utf-8")

    def _broken(self, due: list[tuple[str, Printed]]) -> list[str]:
        """What does not hold: a print that never ran, or printed something else, be it once of many times."""
        notes = self._notes()
        found = []
        for place, promise in due:
            came = [text for name, line, text in notes if name == place and promise.first <= line <= promise.last]
            wrong = [text for text in came if not is_as_promised(promise.text, text)]
            where = f"line {promise.last}" if place.startswith("<") else f"{place}, line {promise.last}"
            if not came:
                found.append(f"{where}: {promise.text!r} was never printed")
            elif wrong and not is_as_promised(promise.text, ", ".join(text.strip() for text in came)):
                found.append(f"{where}: should print {promise.text!r}, and printed {came!r}")
        return found

    def _notes(self) -> list[tuple[str, int, str]]:
        return [tuple(json.loads(line)) for line in self._prints.read_text(encoding="utf-8").splitlines()]

    def _comes_true(self, condition: Callable[[], bool], *, in_time: bool) -> bool:
        end = time.monotonic() + (self._patience if in_time else 0.0)
        tick = threading.Event()
        while not condition():
            if time.monotonic() >= end:
                return False
            tick.wait(0.02)
        return True

    def output(self) -> str:
        """The end of what the session and the shell printed."""
        return self._output.read_text(encoding="utf-8", errors="replace")[-6000:]


def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # who was killed may take a moment to be gone


def run_page(
    markdown: str, *, seconds: float = PAGE_SECONDS, patience: float = PATIENCE_SECONDS, scale: float = 1.0
) -> None:
    """Run all blocks of a page. Raises `PageError` for the first that is not as the page says."""
    found = [block for block in blocks_of(markdown) if runs(block)]
    if not found:
        return
    with (
        _directory() as place,
        _directory() as notes,
        Reader(Path(place), Path(notes), seconds=seconds, patience=patience, scale=scale) as reader,
    ):
        for block in found:
            reader.read(block)
        reader.settle()


if __name__ == "__main__":
    started = time.monotonic()
    try:
        run_page(Path(sys.argv[1]).read_text(encoding="utf-8"))
    except PageError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    print(f"{sys.argv[1]}: as it says, in {time.monotonic() - started:.1f} s")
