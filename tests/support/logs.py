"""Log handlers that fail: whatever they raise comes out of the call that logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Raises(logging.Handler):
    def __init__(self, error: BaseException, words: tuple[str, ...]) -> None:
        super().__init__()
        self._error = error
        self._words = words

    def emit(self, record: logging.LogRecord) -> None:
        if all(word in record.getMessage() for word in self._words):
            raise self._error


@contextmanager
def raising_log(error: BaseException, *words: str) -> Iterator[None]:
    """Raise ``error`` from each log line of the package that has all of these words."""
    logger, handler = logging.getLogger("owlsocket_sync"), _Raises(error, words)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
