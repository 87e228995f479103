"""The ``owlsocket`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

REQUIRED = ("click", "rich", "websockets", "websocket", "orjson", "cryptography", "Crypto", "base58", "rfc8785")
USAGE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: the arguments of the command; ``None`` for those of this process.
    """
    # The import is inside of the try: it takes most of the time of a short command, and Ctrl-C may come during it.
    try:
        missing = missing_package()
        if missing:
            print(f"owlsocket needs {missing}: python -m pip install 'owlsocket-sync[cli]'", file=sys.stderr)
            return USAGE
        from .commands import owlsocket
        from .output import run

        return run(owlsocket, arguments)
    except KeyboardInterrupt:
        return INTERRUPTED


def missing_package() -> str | None:
    """Return the first required package that is not installed."""
    # find_spec, not an import: `owlsocket --help` must not load cryptography.
    return next((name for name in REQUIRED if find_spec(name) is None), None)
