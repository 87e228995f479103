"""Lazy imports of the libraries of the extra ``jupyter``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...errors import MissingExtra


def library(name: str) -> Any:
    """Import a library of the extra.

    Raises:
        MissingExtra: the library is not installed; the message tells how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # The missing package may be a dependency of the library, and not the library itself.
        missing = error.name or name
        message = f"{missing} is not installed: python -m pip install 'owlsocket-sync[jupyter]'"
        raise MissingExtra(message, missing) from error
