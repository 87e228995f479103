"""Exit codes of ``manage.py owlsocket``; see `owlsocket_sync.contrib.exit_codes`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, SystemCheckError

from ...errors import ResilientError
from ..exit_codes import ExitCode, NotConnected, describe
from ..exit_codes import exit_code as code_of
from .connections import ClientDoesNotExist


def exit_code(error: BaseException) -> int:
    """Return the exit code of an error; invalid settings are usage errors."""
    reason = error.reason if isinstance(error, NotConnected) else error
    return ExitCode.USAGE if isinstance(reason, ImproperlyConfigured) else code_of(error, ExitCode.USAGE)


@contextmanager
def command_errors() -> Iterator[None]:
    """Convert errors inside the ``with`` block to a `CommandError` with the exit code of the error."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("interrupted", returncode=ExitCode.INTERRUPTED) from None
    except SystemCheckError as error:  # a subclass of CommandError whose exit code would be 1
        raise CommandError(str(error), returncode=ExitCode.USAGE) from error
    except CommandError:
        raise
    except (ResilientError, NotConnected, ImproperlyConfigured, ClientDoesNotExist, TypeError, ValueError) as error:
        raise CommandError(describe(error), returncode=exit_code(error)) from error
