"""The errors for received messages that are not valid, or that answer nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import SocketMessageMalformed
from ..values import SHOWN_CHARACTERS, truncate
from .messages import Message


def malformed(description: str, text: str, fields: Mapping[str, Any] | None = None) -> SocketMessageMalformed:
    """Return the error for a received message.

    Args:
        description: what was received.
        text: the message; the error shows its beginning.
        fields: those that could be read.
    """
    description = truncate(description)  # it may repeat a field of any length
    # An auth message may hold a token, and a log line shows the error.
    beginning = "***" if '"auth"' in text else text[:SHOWN_CHARACTERS]
    error = SocketMessageMalformed(f"received {description}: {beginning!r}")
    error.text = text[:SHOWN_CHARACTERS]
    error.fields = fields or {}
    return error


def unmatched(description: str, message: Message) -> SocketMessageMalformed:
    """Return the error for an answer to an unknown id, without its payload: a log line shows the error.

    Args:
        description: what was received.
        message: the answer.
    """
    error = SocketMessageMalformed(f"received {description}: id {truncate(str(message.id))!r}")
    error.text = (message.raw or "")[:SHOWN_CHARACTERS]
    return error
