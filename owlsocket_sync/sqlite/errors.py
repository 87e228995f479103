"""Errors of SQLite, translated into those of the package at the edge."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoreCorrupt, StoreError, StoreFull

_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
# Python 3.10 has no names of errors; the texts are SQLite's.
_FULL_TEXT = "database or disk is full"
_IO_ERROR_TEXT = "disk I/O error"
_LEAST_ROOM = 64 * 1024
"""Bytes of free space. With less, SQLite cannot make the file ``-shm``, and does not say why."""
_CORRUPT_TEXTS = ("database disk image is malformed", "file is not a database")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise the errors of SQLite in the block as errors of a store."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error


def translate(error: sqlite3.Error, path: str) -> StoreError:
    """Return the error of a store for an error of SQLite."""
    name, text = getattr(error, "sqlite_errorname", None) or "", str(error)
    translated: StoreError
    if name.startswith(_FULL) or text.startswith(_FULL_TEXT) or (text.startswith(_IO_ERROR_TEXT) and _is_full(path)):
        translated = StoreFull(f"{path}: there is no room on the disk ({text}); nothing was stored")
    elif name.startswith(_CORRUPT) or text.startswith(_CORRUPT_TEXTS):
        translated = StoreCorrupt(
            f"{path} is damaged, or not an SQLite file ({text}); restore it, or open it with on_corrupt='quarantine', "
            "which sets it aside and begins with an empty store"
        )
    else:
        translated = StoreError(f"{path}: {text}")
        translated.retryable = name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or "locked" in text
    translated.path = path
    return translated


def _is_full(path: str) -> bool:
    try:
        return shutil.disk_usage(os.path.dirname(path)).free < _LEAST_ROOM
    except OSError:
        return False
