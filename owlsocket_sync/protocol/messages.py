"""The messages of ``@owlmeans/socket``: their types, what kind a value is, and their ids."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeGuard

from ..stages import AuthenticationStage
from ..values import ByFields

CALL_TIMEOUT = 60.0
"""Seconds that a call waits for its answer when nothing else is said."""


class MessageType(str, Enum):
    """What a message is; values as on the wire."""

    CALL = "call"
    RESULT = "result"
    ERROR = "error"
    REQUEST = "request"
    RESPONSE = "response"
    EVENT = "event"
    MESSAGE = "message"
    AUTH = "auth"
    SYSTEM = "system"


@dataclass(slots=True, repr=False, eq=False)
class Message(ByFields):
    """One message, in either direction.

    Attributes:
        type: what it is; text where the peer wrote a type that nobody knows.
        payload: what it carries; ``None`` for ``null`` and for none at all.
        id: joins an answer to its question; text, or the number that the peer wrote.
        sender: who speaks, where the peer says so.
        recipient: who is spoken to, where the peer says so.
        dt: when it was sent, in seconds since the epoch.
        raw: the text as it arrived.
    """

    type: MessageType | str = MessageType.MESSAGE
    payload: Any = None
    id: str | int | float | None = None
    sender: str | None = None
    recipient: str | None = None
    dt: float | None = None
    raw: str | None = None

    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        from ..cards import message_card

        return message_card(self)


@dataclass(slots=True, repr=False, eq=False)
class CallMessage(Message):
    """A call: ``payload`` is the list of arguments, ``timeout`` in seconds, ``math.inf`` for no limit."""

    type: MessageType | str = MessageType.CALL
    method: str = ""
    timeout: float | None = None


@dataclass(slots=True, repr=False, eq=False)
class EventMessage(Message):
    """An event, or a system message that has a name."""

    type: MessageType | str = MessageType.EVENT
    event: str = ""


@dataclass(slots=True, repr=False, eq=False)
class AuthMessage(Message):
    """One step of authentication; ``stage`` is ``None`` in a refusal. Its repr does not show what it carries."""

    type: MessageType | str = MessageType.AUTH
    stage: AuthenticationStage | str | None = None

    def __repr__(self) -> str:
        return f"AuthMessage(stage={self.stage!r})"


def is_message(value: object, ordinary: bool | None = None) -> bool:
    """Whether this is a message: one of ours, or a mapping with a type and a payload.

    Args:
        ordinary: ``True`` leaves system messages out, ``False`` leaves in nothing else.
    """
    kind = _kind(value)
    return kind is not None and (ordinary is None or (kind != MessageType.SYSTEM) is ordinary)


def is_event_message(value: object, system: bool | None = None) -> bool:
    """Whether this is a message with an event's name; ``system`` keeps only those of the system, or of peers."""
    kind = _kind(value)
    if kind == MessageType.SYSTEM:
        return system is not False
    return kind == MessageType.EVENT and system is not True


def is_call_message(value: object) -> TypeGuard[CallMessage]:
    """Whether this is a call."""
    return _kind(value) == MessageType.CALL


def is_auth_message(value: object) -> TypeGuard[AuthMessage]:
    """Whether this is a step of authentication."""
    return _kind(value) == MessageType.AUTH


def _kind(value: object) -> str | None:
    if isinstance(value, Message):
        return value.type
    if isinstance(value, Mapping) and "payload" in value:
        kind = value.get("type")
        return kind if isinstance(kind, str) else None
    return None


# -- ids -------------------------------------------------------------------------------------------------------------

_counter = itertools.count(1)
_prefix = os.urandom(6).hex()


def new_id() -> str:
    """An id that no other message of this machine has, forked children included; from any thread."""
    return f"{_prefix}-{next(_counter):x}"


def _renew_prefix() -> None:
    global _prefix
    _prefix = os.urandom(6).hex()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_prefix)
