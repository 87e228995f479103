"""What our side logs as a fault of its own, while peers do their worst."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.exceptions import WebSocketException

from owlsocket_sync import ResilientError

EXPECTED = (WebSocketException, ResilientError, OSError, EOFError)
"""What may be said to have gone wrong with a peer."""


class _Complaints(logging.Handler):
    """Whatever is logged that is a fault of our own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.own: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        wire_error = type(error).__name__ == "FramingError"
        theirs = record.name.rpartition(".")[2] == "websockets"  # what that library stumbles on, it answers for
        if not theirs and not (wire_error or isinstance(error, EXPECTED)):
            self.own.append(f"{record.getMessage()}: {error!r}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What is logged meanwhile as a fault of our own; the rest is kept from the output."""
    complaints = _Complaints()
    loggers = [logging.getLogger(name) for name in ("owlsocket_sync", "websockets", "websockets.server")]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(complaints)
        logger.propagate = False
    try:
        yield complaints.own
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(complaints)
            logger.propagate = propagate
