"""The error for a received message that is not valid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import SocketMessageMalformed
from ..values import SHOWN_CHARACTERS, truncate


def malformed(description: str, text: str, fields: Mapping[str, Any] | None = None) -> SocketMessageMalformed:
    """Return the error for a received message.

    Args:
        description: what was received.
        text: the message; the error shows its beginning.
        fields: those that could be read.
    """
    description = truncate(description)  # it may repeat a field of any length
    error = SocketMessageMalformed(f"received {description}: {text[:SHOWN_CHARACTERS]!r}")
    error.text = text[:SHOWN_CHARACTERS]
    error.fields = fields or {}
    return error
