"""Text and log records, where code of the user's may raise: conversions to text, and logging handlers.

`logging` leaves errors to `logging.Handler.handleError`, which prints them; a handler that does not call it raises into
the thread that logs, such as the one that reads. Here such an error is printed as well, and the thread goes on.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

THIS_METHOD, ITS_CALLER = 2, 3


def safe_str(value: object, convert: Callable[[Any], str] = str) -> str:
    """Return the text of a value, or the name of its type where the conversion raises."""
    # str() runs a method of the user's: an error whose text cannot be read must still be answered and reported.
    try:
        return convert(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{type(value).__name__}>"


class SafeLogger:
    """A logger of the standard library, with the methods that the package uses.

    Errors are caught; ``SystemExit`` of a signal handler, and what else is no `Exception`, passes, except where a
    thread of ours must go on (`outlive`).

    Args:
        name: of the logger.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name of `logging`
        """Return whether records of this level are logged."""
        return self._logger.isEnabledFor(level)

    def log(
        self,
        level: int,
        message: str,
        *values: object,
        exc_info: BaseException | bool | None = None,
        extra: Mapping[str, Any] | None = None,
        stacklevel: int = THIS_METHOD,
    ) -> None:
        """Log a record; see ``logging.Logger.log``."""
        try:
            self._logger.log(level, message, *values, exc_info=exc_info, extra=extra, stacklevel=stacklevel)
        except Exception as error:
            _print(message, error)

    def debug(self, message: str, *values: object) -> None:
        """Log at DEBUG."""
        self.log(logging.DEBUG, message, *values, stacklevel=ITS_CALLER)

    def warning(self, message: str, *values: object) -> None:
        """Log at WARNING."""
        self.log(logging.WARNING, message, *values, stacklevel=ITS_CALLER)

    def error(self, message: str, *values: object, **options: Any) -> None:
        """Log at ERROR; ``exc_info`` and ``extra`` as in `log`."""
        self.log(logging.ERROR, message, *values, stacklevel=ITS_CALLER, **options)

    def exception(self, message: str, *values: object) -> None:
        """Log at ERROR, with the error that is handled."""
        self.log(logging.ERROR, message, *values, exc_info=True, stacklevel=ITS_CALLER)

    def outlive(self, message: str, *values: object) -> None:
        """As `exception`, on a thread of ours that goes on whatever a handler of the log raises."""
        try:
            self.log(logging.ERROR, message, *values, exc_info=True, stacklevel=ITS_CALLER)
        except BaseException as error:
            _print(message, error)


def _print(message: str, error: BaseException) -> None:
    if logging.raiseExceptions and sys.stderr is not None:
        # Whatever stderr is by now, and whatever the error makes of its own text.
        with contextlib.suppress(Exception):
            import traceback

            text = "".join(traceback.format_exception(error))
            sys.stderr.write(f"a logging handler failed at {message!r}:\n{text}")


logger = SafeLogger("owlsocket_sync")
