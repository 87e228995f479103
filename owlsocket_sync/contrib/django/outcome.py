"""What ``manage.py owlsocket`` ends with; see `owlsocket_sync.contrib.outcome`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, SystemCheckError

from ...errors import ResilientError
from ..outcome import INTERRUPTED, USAGE, NotConnected, describe
from ..outcome import exit_code as code_of
from .connections import ClientDoesNotExist


def exit_code(error: BaseException) -> int:
    """The exit code that an error stands for; settings that cannot be used are a mistake of usage."""
    reason = error.reason if isinstance(error, NotConnected) else error
    return USAGE if isinstance(reason, ImproperlyConfigured) else code_of(error)


@contextmanager
def outcomes() -> Iterator[None]:
    """Turn what goes wrong inside into a `CommandError` with the exit code that it stands for."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError("interrupted", returncode=INTERRUPTED) from None
    except SystemCheckError as error:
        raise CommandError(str(error), returncode=USAGE) from error
    except CommandError:
        raise
    except (ResilientError, NotConnected, ImproperlyConfigured, ClientDoesNotExist, TypeError, ValueError) as error:
        raise CommandError(describe(error), returncode=exit_code(error)) from error
