"""The time of an import in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..child import Figures
from ..echo_servers import ROOT, EchoServers
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


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure each statement in an interpreter of its own, after a run that fills the cache of bytecode."""
    result = Result("Imports, in fresh interpreters", COLUMNS)
    for statement in STATEMENTS:
        _time(statement)
    # In turns, so that a drift of the machine affects all statements.
    for number in range(scale.imports):
        for statement in STATEMENTS[:: -1 if number % 2 else 1]:
            result.rounds.setdefault(statement, []).append(_time(statement))
    return result


def _time(statement: str) -> Figures:
    start = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
    # With this variable, our sources would be compiled at each import, while installed packages have their bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(CACHE)
    ran = subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)
    figures: Figures = json.loads(ran.stdout)
    return {**figures, "whole": (time.perf_counter() - start) * 1e3}
