"""Fuzzes readers of foreign bytes for so many seconds each, guided by coverage where ``atheris`` is installed.

``python -m fuzz [TARGET…] [--seconds N] [--plain]``, in the folder of the tests; no target stands for all of them.
What is read wrongly is added to the corpus, where the tests find it from then on.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FunctionType
from typing import Any

from fuzz.all_targets import TARGETS
from fuzz.drive import Watched, drive
from fuzz.target import CORPUS, Target

WATCHED = ("owlsocket_sync", "websocket", "websockets")
LONGEST = 65_536
SECONDS_OF_GRACE = 60


def keep(target: Target, data: bytes) -> Path:
    """Add an input to the corpus."""
    path = CORPUS / target.name / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def plain(target: Target, seconds: float) -> bool:
    """Broken inputs as the tests have them; whether all went well."""
    try:
        print(f"{target.name}: {drive(target, seconds).runs} runs, nothing found")
    except BaseException as error:
        print(f"{target.name}: {error!r}")
        return False
    return True


def guided(target: Target, seconds: float) -> bool:
    """Inputs that are guided by coverage, in a process of their own; whether all went well."""
    command = [sys.executable, "-m", "fuzz", target.name, "--seconds", str(seconds), "--guided"]
    try:
        return subprocess.run(command, timeout=seconds + SECONDS_OF_GRACE, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"{target.name}: it hangs")
        return False


def run_guided(target: Target, seconds: float) -> None:
    """Never returns: libFuzzer ends the process, with 0 when it found nothing."""
    coverage: Any = importlib.import_module("atheris")
    with target.open() as run, tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(target.inputs()):
            Path(folder, str(number)).write_bytes(data)
        words = Path(folder + ".words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words if len(word) < 60), encoding="ascii")
        watched = Watched(run)

        def one(data: bytes) -> None:
            try:
                watched(data)
            except BaseException as error:
                print(f"{target.name}: {error!r}, kept as {keep(target, data)}", flush=True)
                os._exit(1)

        options = [
            f"-max_total_time={int(seconds)}",
            f"-max_len={LONGEST}",
            f"-dict={words}",
            "-timeout=30",
            "-verbosity=0",
        ]
        for function in _readers():
            coverage.instrument_func(function)
        coverage.Setup([sys.argv[0], folder, *options], one)
        coverage.Fuzz()


def _readers() -> list[FunctionType]:
    """The functions whose branches are watched."""
    functions = [value for value in gc.get_objects() if isinstance(value, FunctionType)]
    return [
        function for function in functions if function.__module__ and function.__module__.partition(".")[0] in WATCHED
    ]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main() -> None:
    """Fuzz what was asked for; ends with 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default: 60)")
    parser.add_argument("--plain", action="store_true", help="without guidance by coverage")
    parser.add_argument("--guided", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    targets = [TARGETS[name] for name in asked.targets or TARGETS]
    if asked.guided:
        run_guided(targets[0], asked.seconds)
    fuzz = plain if asked.plain or importlib.util.find_spec("atheris") is None else guided
    print(f"{fuzz.__name__}, {asked.seconds:g} s each")
    wrong = [target.name for target in targets if not fuzz(target, asked.seconds)]
    if wrong:
        sys.exit(f"read wrongly: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
