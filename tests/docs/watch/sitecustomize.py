"""Notes what each line of a page prints: every Python that a page starts imports this first."""

from __future__ import annotations

import builtins
import io
import json
import os
import sys
from typing import Any

PLACE = os.environ["PAGE_DIRECTORY"]
NOTES = os.environ["PAGE_NOTES"]
_print = builtins.print


def _place() -> tuple[str, int] | None:
    """The file, as the page calls it, and the line that prints; ``None`` for what is no part of the page."""
    frame = sys._getframe(2)
    name = frame.f_code.co_filename
    if name.startswith("<page"):
        return name, frame.f_lineno
    path = os.path.realpath(name)
    return (os.path.relpath(path, PLACE), frame.f_lineno) if path.startswith(PLACE + os.sep) else None


def noted(*values: Any, **options: Any) -> None:
    """Print, and note it in one write: many processes share the notes."""
    place = _place()
    if place is not None and options.get("file") in (None, sys.stdout):
        text = io.StringIO()
        _print(*values, **{**options, "file": text, "flush": False})
        line = json.dumps([*place, text.getvalue()]) + "\n"
        notes = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(notes, line.encode())
        finally:
            os.close(notes)
    _print(*values, **options)


builtins.print = noted
