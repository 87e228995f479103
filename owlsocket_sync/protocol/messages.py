"""The messages of ``@owlmeans/socket``: their classes, tests for their kind, and their ids."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeGuard

from .. import fork
from ..states import AuthenticationStage
from ..values import FieldwiseEq

CALL_TIMEOUT = 60.0
"""The default timeout of a call, in seconds."""


class MessageType(str, Enum):
    """The type of a message; the values are those of the wire."""

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
class Message(FieldwiseEq):
    """One message, in either direction.

    Attributes:
        type: the type; a text where the peer sent an unknown one.
        payload: the content; ``None`` for ``null`` and for a missing key.
        id: the same in a call or request and in its answers; a text, or the number that the peer sent.
        sender: the name of the sending end, where the peer sends one; a number where the peer sends that.
        recipient: the name of the receiving end, in the same way.
        dt: the time of sending, in seconds since the epoch.
        raw: the text as it was received.
    """

    type: MessageType | str = MessageType.MESSAGE
    payload: Any = None
    id: str | int | float | None = None
    sender: str | int | float | None = None
    recipient: str | int | float | None = None
    dt: float | None = None
    raw: str | None = None

    # Messages are mutable: `prepare` hooks change them.
    __hash__ = None  # type: ignore[assignment]

    def _repr_html_(self) -> str:
        from ..html_repr import message_card

        return message_card(self)


@dataclass(slots=True, repr=False, eq=False)
class CallMessage(Message):
    """A call of a method.

    Attributes:
        method: the name of the method; ``payload`` is the list of its arguments.
        timeout: seconds until the caller stops waiting, ``math.inf`` for no limit.
    """

    type: MessageType | str = MessageType.CALL
    method: str = ""
    timeout: float | None = None


@dataclass(slots=True, repr=False, eq=False)
class EventMessage(Message):
    """An event, or a system message with a name.

    Attributes:
        event: the name of the event.
        local: this end made the message, as it does when a link closes; ``False`` for every message of the peer.
    """

    # Of the class, not of the instance: nothing that the peer sends can set it.
    local: ClassVar[bool] = False

    type: MessageType | str = MessageType.EVENT
    event: str = ""


class LinkClosedMessage(EventMessage):
    """The system message ``close``, which listeners get at the end of each link."""

    __slots__ = ()

    local = True


@dataclass(slots=True, repr=False, eq=False)
class AuthMessage(Message):
    """A step of authentication.

    Attributes:
        stage: the stage that the step leads to; ``None`` in a refusal.
    """

    type: MessageType | str = MessageType.AUTH
    stage: AuthenticationStage | str | None = None

    def __repr__(self) -> str:
        # The payload may be a token, and a repr ends up in logs.
        return f"AuthMessage(stage={self.stage!r})"


def is_message(value: object, ordinary: bool | None = None) -> bool:
    """Return whether a value is a message: a `Message`, or a mapping with a type and a payload.

    Args:
        value: any value.
        ordinary: ``True`` excludes system messages, ``False`` accepts system messages only.
    """
    kind = _kind(value)
    return kind is not None and (ordinary is None or (kind != MessageType.SYSTEM) is ordinary)


def is_event_message(value: object, system: bool | None = None) -> bool:
    """Return whether a value is a message with the name of an event.

    Args:
        value: any value.
        system: ``True`` accepts system messages only, ``False`` excludes them.
    """
    kind = _kind(value)
    if kind == MessageType.SYSTEM:
        return system is not False
    return kind == MessageType.EVENT and system is not True


def is_call_message(value: object) -> TypeGuard[CallMessage]:
    """Return whether a value is a call."""
    return _kind(value) == MessageType.CALL


def is_auth_message(value: object) -> TypeGuard[AuthMessage]:
    """Return whether a value is a step of authentication."""
    return _kind(value) == MessageType.AUTH


def _kind(value: object) -> str | None:
    if isinstance(value, Message):
        return value.type
    if isinstance(value, Mapping) and "payload" in value:
        kind = value.get("type")
        return kind if isinstance(kind, str) else None
    return None


# -- ids -------------------------------------------------------------------------------------------------------------


def is_id(value: Any) -> bool:
    """Return whether a value can be the id of a message: a string, or a number that can be written again."""
    return isinstance(value, str) or is_number(value)


def is_number(value: Any) -> bool:
    """Return whether a value is a number that can be written again, and not a flag."""
    # Infinity (1e400) and larger integers cannot be written again.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


class IdSource:
    """Ids that no other message has, in any process.

    Attributes:
        next: return an id; callable from any thread.
    """

    def __init__(self) -> None:
        self.after_fork()
        fork.register(self)

    def after_fork(self) -> None:
        """Use another prefix: a child continues with the counter of its parent."""
        prefix = os.urandom(6).hex()
        # Builtins throughout: one step of C code under the interpreter's lock, so no lock is needed here.
        self.next: Callable[[], str] = map((prefix + "-{:x}").format, itertools.count(1)).__next__


IDS = IdSource()
