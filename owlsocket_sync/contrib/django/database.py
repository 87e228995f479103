"""Database connections of threads that serve no request.

Threads: ``shared_connections`` is changed by the running test only while no handler runs, and read by workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from django.db import close_old_connections, connections

Function = TypeVar("Function", bound=Callable[..., Any])

shared_connections: dict[str, Any] = {}
"""Database connections by alias, used by handlers in place of their own: those of a test and its transaction."""


@contextmanager
def fresh_connections() -> Iterator[None]:
    """Close broken and expired database connections before and after, as Django does around a request."""
    # The thread of the test has its own connections in this table already: they must stay there.
    open_here = connections.all(initialized_only=True)
    borrowed = {alias: connection for alias, connection in shared_connections.items() if connection not in open_here}
    for alias, connection in borrowed.items():
        connections[alias] = connection
    close_old_connections()
    try:
        yield
    finally:
        close_old_connections()
        # The table is local to this thread, which outlives the test: it must not keep the test's connections.
        for alias in borrowed:
            del connections[alias]


def with_fresh_connections(function: Function) -> Function:
    """Wrap a function in `fresh_connections`."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with fresh_connections():
            return function(*arguments, **options)

    return cast(Function, run)


def with_short_lived_connections(function: Function) -> Function:
    """Wrap a function for a thread that ends when it returns: all database connections of the thread are closed."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        with fresh_connections():
            try:
                return function(*arguments, **options)
            finally:
                if not shared_connections:  # the connections of a test belong to the thread of the test
                    connections.close_all()

    return cast(Function, run)
