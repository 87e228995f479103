"""The ``owlsocket`` command; what it needs is imported when it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

NEEDED = ("click", "rich", "websockets", "websocket", "orjson", "cryptography", "Crypto", "base58", "rfc8785")
USAGE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: of this process), and return its exit code."""
    try:
        missing = missing_package()
        if missing:
            print(f"owlsocket needs {missing}: python -m pip install 'owlsocket-sync[cli]'", file=sys.stderr)
            return USAGE
        from .commands import owlsocket
        from .outcome import run

        return run(owlsocket, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def missing_package() -> str | None:
    """The first package that is needed and not installed."""
    return next((name for name in NEEDED if find_spec(name) is None), None)
