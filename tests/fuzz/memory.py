"""How much memory this process held at most, over a while."""

from __future__ import annotations

import contextlib
import gc
import resource
from pathlib import Path

import pytest

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Growth:
    """Bytes by which the peak of the resident memory rose over where it stood; a context manager."""

    def __enter__(self) -> Growth:
        gc.collect()
        with contextlib.suppress(OSError):
            RESET.write_text("5", encoding="ascii")  # the peak begins anew
        self._before = _status("VmRSS") or _highest()
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = (_status("VmHWM") or _highest()) - self._before


def _status(name: str) -> int:
    if not STATUS.exists():
        return 0
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return pytest.fail(f"{STATUS} does not tell {name}")


def _highest() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
