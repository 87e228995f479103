"""The place of a connection in a hub: its id, and the rooms that it is in.

Only the connections of a server have one; `NoMembership` stands for it everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..errors import SocketError, SocketUnsupported


class Membership(Protocol):
    """The place of one connection in its hub; every method may be called from any thread."""

    @property
    def id(self) -> str:
        """The id of the connection, unique in the hub."""
        ...

    @property
    def rooms(self) -> list[str]:
        """The rooms, in the order in which they were joined."""
        ...

    def join(self, room: str, info: Any) -> None:
        """Join a room; see `owlsocket_sync.Connection.join`."""
        ...

    def leave(self, room: str) -> None:
        """Leave a room; see `owlsocket_sync.Connection.leave`."""
        ...


def _do_nothing() -> None:
    """Stand for a check that raises nothing."""


class NoMembership:
    """Raises an error at each use.

    Args:
        check_open: raises where the connection is closed, and has no other reason.
    """

    def __init__(self, check_open: Callable[[], None] = _do_nothing) -> None:
        self._check_open = check_open

    def _error(self) -> SocketError:
        self._check_open()
        return SocketUnsupported("only the connections of a server have an id and rooms; this is the end of a client")

    @property
    def id(self) -> str:
        """Raise the error."""
        raise self._error()

    @property
    def rooms(self) -> list[str]:
        """Raise the error."""
        raise self._error()

    def join(self, room: str, info: Any) -> None:
        """Raise the error."""
        raise self._error()

    def leave(self, room: str) -> None:
        """Raise the error."""
        raise self._error()


NO_MEMBERSHIP = NoMembership()
