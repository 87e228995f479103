"""Copies of messages, for receivers of one message that must not see what another one does to its payload."""

from __future__ import annotations

import marshal
from copy import copy, deepcopy
from typing import Any, TypeVar

from .messages import Message

Received = TypeVar("Received")


def private_copy(message: Received) -> Received:
    """Return a copy of a message with a payload of its own; anything else as it is."""
    if not isinstance(message, Message):
        return message
    copied = copy(message)
    copied.payload = copy_payload(message.payload)
    return copied


def copy_payload(payload: Any) -> Any:
    """Return a copy of a payload: its objects and arrays are new, and so is what a hook has put there, if it can be."""
    try:
        return _copy(payload)
    except RecursionError:  # as deep as `Limits.json_depth` allows
        return marshal.loads(marshal.dumps(payload))


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {key: _copy(item) for key, item in value.items()}
    if kind is list:
        return [_copy(item) for item in value]
    if value is None or kind in (str, int, float, bool):
        return value
    try:
        return deepcopy(value)
    except Exception:  # it cannot be copied: a hook has put it there, and it is shared
        return value
