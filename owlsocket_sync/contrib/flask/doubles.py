"""What gives an app the fake in place of a connection."""

from __future__ import annotations

from typing import Any

from ...connection import Connection
from ...options import Limits
from ...protocol.messages import CALL_TIMEOUT
from ...testing.double import FakeOwlSocket
from .services import AppState

NEEDED = ("call_timeout", "limits", "sender", "name")


class Double:
    """Stands in for one service of an app.

    Args:
        state: the app's.
        alias: the service.

    Attributes:
        fake: the peer, and what it saw.
    """

    def __init__(self, state: AppState, alias: str) -> None:
        options: dict[str, Any] = state.options(alias, NEEDED)
        self.fake = FakeOwlSocket(
            name=options["name"],
            limits=options.get("limits") or Limits(),
            call_timeout=options.get("call_timeout", CALL_TIMEOUT),
            sender=options.get("sender"),
        )
        self._wiring = state.wiring(alias)
        self._wiring.wire(self.fake.app_side)

    @property
    def connection(self) -> Connection:
        """The app's end of the conversation."""
        return self.fake.connect()

    def catch_up(self) -> None:
        """Give it the handlers that came after it."""
        self._wiring.catch_up()

    def close(self) -> None:
        """End the conversation."""
        self.fake.close()
