"""The process of one contestant: it prepares once, and measures one turn for each line on its stdin.

``python -m benchmarks.child module:function OPTIONS`` imports ``benchmarks.measures.module``, and calls ``function``
with the options (JSON). The function returns a callable that measures a turn; its figures are printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

Figures = dict[str, float]
Turn = Callable[[], Figures]


def main() -> None:
    """Prepare, and measure turns until stdin ends."""
    # A contestant may print on stdout; that goes to stderr, so that it cannot mix with the figures.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    module, _, function = sys.argv[1].partition(":")
    try:
        turn: Turn = getattr(import_module(f"benchmarks.measures.{module}"), function)(**json.loads(sys.argv[2]))
        answer({})
        for _ in sys.stdin:
            answer(turn())
    except ImportError as error:
        answer({"missing": str(error)})
    except BaseException:
        answer({"failed": traceback.format_exc()})
    os._exit(0)  # without joining the threads that a contestant left running


if __name__ == "__main__":
    main()
