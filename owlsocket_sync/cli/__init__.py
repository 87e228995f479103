"""The ``owlsocket`` command; what it needs is imported when it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code; never raises."""
    try:
        from .commands import owlsocket
        from .outcome import run
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        print(f"owlsocket needs {missing}: python -m pip install 'owlsocket-sync[cli]'", file=sys.stderr)
        return 2
    return run(owlsocket, arguments)
