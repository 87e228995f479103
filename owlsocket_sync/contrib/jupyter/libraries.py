"""The libraries of the extra ``jupyter``, imported when they are first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def library(name: str) -> Any:
    """A library of the extra.

    Raises:
        ModuleNotFoundError: it is not installed; says how to get it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        told = f"{missing} is needed for this: python -m pip install 'owlsocket-sync[jupyter]'"
        raise ModuleNotFoundError(told, name=missing) from error
