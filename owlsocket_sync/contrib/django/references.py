"""What settings name by a dotted path, since they cannot import it: callables, and objects that log in."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+\Z")


def is_path(text: str) -> bool:
    """Whether text leads into a package that is here; a token that happens to have dots in it does not."""
    if not _PATH.match(text):
        return False
    try:
        return find_spec(text.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def resolve(value: Any, what: str) -> Any:
    """What a dotted path leads to; anything else as it is.

    Raises:
        ImproperlyConfigured: it leads nowhere; the message names the path, which is no secret.
    """
    if not (isinstance(value, str) and is_path(value)):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f"{what} leads nowhere: {error}") from error


def resolve_secret(value: Any, what: str) -> str | Callable[[], Any]:
    """A token or a key: text as it is, or the callable that gives it.

    Raises:
        ImproperlyConfigured: it is neither, and no path to a callable either.
    """
    found = resolve(value, what)
    if isinstance(found, str) and found is value:
        return found
    if callable(found):
        return cast(Callable[[], Any], found)
    raise ImproperlyConfigured(f"{what} must be a callable, or the dotted path of one, not {type(found).__name__}")


def is_literal(value: Any) -> bool:
    """Whether a secret stands in the settings themselves."""
    return isinstance(value, str) and bool(value) and not is_path(value)
