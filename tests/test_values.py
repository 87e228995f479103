"""Public values behave as any dataclass does: the methods that they share show, compare and hash by fields."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields, make_dataclass, replace
from typing import Any

import pytest

from owlsocket_sync import (
    AuthMessage,
    Backoff,
    CallMessage,
    Ending,
    ErrorContext,
    EventMessage,
    Heartbeat,
    Limits,
    Message,
)

FROZEN = [Limits(), Backoff(), Heartbeat(), Ending(1000, "bye"), ErrorContext("observe", "news")]
MESSAGES = [Message(payload=[1], id="a"), CallMessage(method="m", timeout=1.0), EventMessage(event="e")]


def twin(value: Any) -> Any:
    """The same fields in a class with the methods that a dataclass writes for itself."""
    cls = type(value)
    made = make_dataclass(cls.__name__, [(field.name, Any) for field in fields(value)], frozen=value in FROZEN)
    return made(*(getattr(value, field.name) for field in fields(value)))


@pytest.mark.parametrize("value", [*FROZEN, *MESSAGES], ids=lambda value: type(value).__name__)
def test_it_is_shown_and_compared_as_a_dataclass_is(value: Any) -> None:
    """By class and fields."""
    assert repr(value) == repr(twin(value))
    assert value == replace(value)
    assert value != twin(value)
    first = fields(value)[0].name
    other = {"initial": 1.0, "interval": 1.0, "message_size": 1, "code": 1, "source": "x", "type": "x"}[first]
    assert value != replace(value, **{first: other})


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: type(value).__name__)
def test_what_is_frozen_has_a_hash_and_stays(value: Any) -> None:
    """Equal values are one key; a field cannot be set."""
    assert {value: 1}[replace(value)] == 1
    assert hash(value) == hash(twin(value))
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, 1)


@pytest.mark.parametrize("message", [*MESSAGES, AuthMessage()], ids=lambda value: type(value).__name__)
def test_a_message_has_no_hash(message: Message) -> None:
    """It can change."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_messages_of_two_kinds_differ() -> None:
    """Whatever they carry."""
    assert Message("event", 1) != EventMessage("event", 1)


def test_a_message_that_holds_itself_is_shown() -> None:
    """Once."""
    message = Message()
    message.payload = [message]
    assert "payload=[...]" in repr(message)


def test_a_value_can_be_extended() -> None:
    """By a frozen dataclass with a field of its own."""

    @dataclass(frozen=True)
    class Named(Ending):
        name: str = ""

    assert Named(1000, name="a") == Named(1000, name="a") != Named(1000, name="b")
    assert "name='a'" in repr(Named(1000, name="a"))
