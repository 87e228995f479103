"""Counts the machine instructions of this process, its C code included, where it runs under callgrind.

Callgrind is told when to count by client requests: a sequence of instructions that does nothing on a real processor
(``valgrind/valgrind.h``). Until the first request the process runs without instrumentation, which would make its start
several times as slow.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ..echo_servers import ROOT

BASE = 0x43540000  # the requests of callgrind: "CT", then a number
DUMP, ZERO, START = BASE, BASE + 1, BASE + 4
REQUEST = bytes.fromhex(
    "4889f8"  # mov %rdi, %rax: the request and its arguments
    "31d2"  # xor %edx, %edx: the result without valgrind
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol $3, $13, $61, $51, %rdi: 128 bits in all, so nothing changes
    "4887db"  # xchg %rbx, %rbx
    "4889d0 c3"  # mov %rdx, %rax; ret
)
SETTLED = 0.01
TIMEOUT = 100.0
TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
OUTPUT = "counts"


class CallgrindMeter:
    """Counts runs; in a process that `run_under_callgrind` has started.

    Args:
        output: the file that callgrind writes, by its prefix.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._dumps = 0
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def install(self) -> None:
        """Do nothing: imports would take long."""

    def start(self) -> None:
        """Start the instrumentation."""
        self._request(START)

    def count(self, run: Callable[[], object]) -> tuple[int, ...]:
        """Return the instructions of a run, on all threads, until they wait again."""
        self._request(ZERO)
        run()
        time.sleep(SETTLED)
        self._request(DUMP)
        self._dumps += 1
        found = TOTAL.search(Path(f"{self._output}.{self._dumps}").read_text(encoding="utf-8"))
        if found is None:
            raise RuntimeError("callgrind wrote no total")
        return (int(found[1]),)

    def _request(self, number: int) -> None:
        arguments = (ctypes.c_uint64 * 6)(number)
        self._call(ctypes.addressof(arguments))


def missing() -> str | None:
    """Return why there is no callgrind here, ``None`` if there is."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return f"callgrind is told when to count on Linux and x86_64 only, and this is {platform.machine()}"
    return None if shutil.which("valgrind") else "valgrind is not installed"


def run_under_callgrind(module: str, *options: str) -> str:
    """Run a module under callgrind, with the prefix of its output as the last argument, and return its stdout."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / OUTPUT
        command = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
        # The order of sets and dicts, and so the instructions of a lookup, depend on the seed.
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        program = [sys.executable, "-m", module, *options, str(output)]
        ran = subprocess.run(
            [*command, *program], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=TIMEOUT
        )
    if ran.returncode:
        raise RuntimeError(f"callgrind failed:\n{ran.stderr}")
    return ran.stdout
