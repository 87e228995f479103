"""Public values behave like any dataclass: their shared methods show, compare and hash them by their fields."""

from __future__ import annotations

import json
import pickle
import traceback
from dataclasses import FrozenInstanceError, dataclass, fields, make_dataclass, replace
from typing import Any

import pytest

from owlsocket_sync import (
    AuthMessage,
    Backoff,
    CallMessage,
    CloseInfo,
    Deflate,
    ErrorContext,
    EventMessage,
    Heartbeat,
    Limits,
    Message,
)
from owlsocket_sync.values import Secret, forget_locals

FROZEN = [Limits(), Backoff(), Heartbeat(), Deflate(), CloseInfo(1000, "bye"), ErrorContext("observe", "news")]
MESSAGES = [Message(payload=[1], id="a"), CallMessage(method="m", timeout=1.0), EventMessage(event="e")]


def twin(value: Any) -> Any:
    """Return the same fields in a class with the generated methods of a dataclass."""
    cls = type(value)
    made = make_dataclass(cls.__name__, [(field.name, Any) for field in fields(value)], frozen=value in FROZEN)
    return made(*(getattr(value, field.name) for field in fields(value)))


@pytest.mark.parametrize("value", [*FROZEN, *MESSAGES], ids=lambda value: type(value).__name__)
def test_a_value_behaves_like_a_dataclass(value: Any) -> None:
    """Its repr and its comparison are those that ``@dataclass`` generates."""
    assert repr(value) == repr(twin(value))
    assert value == replace(value)
    assert value != twin(value)
    first = fields(value)[0].name
    other = {"initial": 1.0, "interval": 1.0, "level": 1, "message_size": 1, "code": 1, "source": "x", "type": "x"}[
        first
    ]
    assert value != replace(value, **{first: other})


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: type(value).__name__)
def test_a_frozen_value_has_a_hash_and_cannot_change(value: Any) -> None:
    """Equal values are one key; a field cannot be set."""
    assert {value: 1}[replace(value)] == 1
    assert hash(value) == hash(twin(value))
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, 1)


@pytest.mark.parametrize("message", [*MESSAGES, AuthMessage()], ids=lambda value: type(value).__name__)
def test_a_message_has_no_hash(message: Message) -> None:
    """It is mutable."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_messages_of_two_classes_differ() -> None:
    """Even with equal fields."""
    assert Message("event", 1) != EventMessage("event", 1)


def test_a_recursive_message_has_a_repr() -> None:
    """It is shown once."""
    message = Message()
    message.payload = [message]
    assert "payload=[...]" in repr(message)


def test_a_value_can_be_subclassed() -> None:
    """By a frozen dataclass with a further field."""

    @dataclass(frozen=True)
    class Named(CloseInfo):
        name: str = ""

    assert Named(1000, name="a") == Named(1000, name="a") != Named(1000, name="b")
    assert "name='a'" in repr(Named(1000, name="a"))


def test_a_secret_is_a_text_that_its_repr_hides() -> None:
    """In containers, options and dataclasses too; everything else works as with the text itself."""
    secret = Secret("s3cret")
    assert repr({"token": secret, "all": [secret]}) == "{'token': '***', 'all': ['***']}"
    assert (secret, str(secret), f"{secret}") == ("s3cret",) * 3
    assert hash(secret) == hash("s3cret")
    assert json.dumps(secret) == '"s3cret"'
    copied = pickle.loads(pickle.dumps(secret))
    assert (copied, repr(copied)) == ("s3cret", "'***'")
    assert isinstance(copied, Secret)


def _raise_with_a_secret(secret: str) -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer") from error


def test_an_error_keeps_its_lines_and_loses_its_locals() -> None:
    """Those of its causes as well, even where the causes form a circle."""
    try:
        _raise_with_a_secret("s3cret")
    except ValueError as error:
        caught = error
    assert caught.__cause__ is not None
    caught.__cause__.__context__ = caught
    forget_locals(caught)
    frames = [frame for frame, _ in traceback.walk_tb(caught.__traceback__)]
    assert [frame.f_code.co_name for frame in frames][-1] == "_raise_with_a_secret"
    assert "s3cret" not in repr(frames[-1].f_locals)
