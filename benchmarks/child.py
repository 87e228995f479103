"""A contestant's process: it prepares once, then takes a turn for each line that it reads.

``python -m benchmarks.child module:function OPTIONS`` imports ``benchmarks.measures.module``, calls ``function`` with
the options (JSON), and gets what takes a turn and returns its figures, which are printed as one line of JSON.
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
    """Prepare, and take turns until there are no more."""
    # What contestants print must not get between the figures.
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
    os._exit(0)  # what a contestant left running is of no interest


if __name__ == "__main__":
    main()
