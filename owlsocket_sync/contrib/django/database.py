"""The database connections of a thread that no request looks after.

Threads: ``shared`` is changed by the test that runs, while no handler does, and read by workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from django.db import close_old_connections, connections

Function = TypeVar("Function", bound=Callable[..., Any])

shared: dict[str, Any] = {}
"""Database connections, by alias, that handlers use in place of their own: those of a test and its transaction."""


@contextmanager
def fresh_connections() -> Iterator[None]:
    """As around a request: a connection that broke, or is too old, is closed before and after."""
    here = connections.all(initialized_only=True)
    borrowed = {alias: one for alias, one in shared.items() if one not in here}
    for alias, one in borrowed.items():
        connections[alias] = one
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
        for alias in borrowed:
            del connections[alias]


def with_fresh_connections(function: Function) -> Function:
    """The function, run so."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with fresh_connections():
            return function(*arguments, **options)

    return cast(Function, run)


def with_own_connections(function: Function) -> Function:
    """The function, on a thread that ends when it returns: nothing is left open."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with fresh_connections():
            try:
                return function(*arguments, **options)
            finally:
                if not shared:
                    connections.close_all()

    return cast(Function, run)
