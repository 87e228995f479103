"""Dotted paths in settings: settings cannot import project code, so they name callables and login objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

_DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+\Z")


def is_path(text: str) -> bool:
    """Return whether text is a dotted path into an installed package."""
    if not _DOTTED_PATH.match(text):
        return False
    # A token may look like a path, as a JWT does: three words and two dots. Its first word is not a package.
    try:
        return find_spec(text.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def resolve(value: Any, place: str) -> Any:
    """Import a dotted path; return any other value unchanged.

    Raises:
        ImproperlyConfigured: the import failed. The message contains the path, which is never a secret.
    """
    if not (isinstance(value, str) and is_path(value)):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ImproperlyConfigured(f"{place} cannot be imported: {error}") from error


def resolve_secret(value: Any, place: str) -> str | Callable[[], Any]:
    """Return a token or a key: literal text, or the callable at a dotted path.

    Raises:
        ImproperlyConfigured: the value is neither text nor a callable, nor the dotted path of a callable.
    """
    resolved = resolve(value, place)
    if isinstance(resolved, str) and resolved is value:
        return resolved
    if callable(resolved):
        return cast(Callable[[], Any], resolved)
    # Only the type is shown: the value may be the secret.
    raise ImproperlyConfigured(
        f"{place} must be a callable, or the dotted path of a callable, not {type(resolved).__name__}"
    )


def is_literal(value: Any) -> bool:
    """Return whether a secret is written in the settings themselves."""
    return isinstance(value, str) and bool(value) and not is_path(value)
