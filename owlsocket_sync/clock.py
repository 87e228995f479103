"""The clocks of the package: those of timeouts, which cannot be replaced, and the wall clock, which a test may freeze.

Libraries like freezegun replace the functions of ``time``, there and in each module that has imported them. A timeout
must go on meanwhile: with a frozen clock no deadline passes, and with one that jumps each of them has passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType


def _copy_of_time() -> ModuleType:
    """Return another instance of the module ``time``, whose functions are those of the interpreter."""
    # Also where the first import of this module is in a test that has frozen the clocks: a copy is not the module that
    # was changed. And its functions are not the objects that such a library looks for in all modules.
    spec = time.__spec__
    assert spec is not None
    assert spec.loader is not None
    module = spec.loader.create_module(spec)
    assert module is not None
    spec.loader.exec_module(module)
    return module


_time = _copy_of_time()
monotonic: Callable[[], float] = _time.monotonic
perf_counter: Callable[[], float] = _time.perf_counter


def wall_time() -> float:
    """Return the seconds of the wall clock since 1970, as a test that freezes or moves the clock sees them."""
    return time.time()
