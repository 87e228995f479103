"""What an import takes, in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..arena import ROOT, Arena
from ..child import Figures
from ..result import Result
from ..scale import Scale

CACHE = Path(tempfile.gettempdir()) / "owlsocket-benchmarks-bytecode"
BARE_PYTHON = "pass"
OURS = "import owlsocket_sync"
OURS_CONNECT = "from owlsocket_sync import connect"
WEBSOCKET = "import websocket"
STATEMENTS = (BARE_PYTHON, OURS, OURS_CONNECT, WEBSOCKET, "import requests", "import dataclasses_json")
COLUMNS = {"import": "import, ms", "cpu": "CPU, ms", "whole": "whole process, ms", "modules": "modules"}
PROGRAM = """
import sys, time
before, start, began = len(sys.modules), time.perf_counter(), time.process_time()
{statement}
seconds, cpu = time.perf_counter() - start, time.process_time() - began
print('{{"import": %f, "cpu": %f, "modules": %d}}' % (seconds * 1e3, cpu * 1e3, len(sys.modules) - before))
"""


def measure(arena: Arena, scale: Scale) -> Result:
    """Each statement in turn, in an interpreter of its own; the first time is for the cache."""
    result = Result("Imports, in fresh interpreters", COLUMNS)
    for statement in STATEMENTS:
        _time(statement)
    for number in range(scale.imports):
        for statement in STATEMENTS[:: -1 if number % 2 else 1]:
            result.rounds.setdefault(statement, []).append(_time(statement))
    return result


def _time(statement: str) -> Figures:
    start = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
    # Without their bytecode, our own sources alone would be compiled anew each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(CACHE)
    said = subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    figures: Figures = json.loads(said.stdout)
    return {**figures, "whole": (time.perf_counter() - start) * 1e3}
