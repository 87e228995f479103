"""Errors: one tree, read and written as the reference does, and never worse."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from helpers import load

from owlsocket_sync import errors
from owlsocket_sync.errors import (
    AuthError,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
    register_error_class,
)

VECTORS = load("errors.json")
CLASSES = [entry for entry in VECTORS["classes"] if entry["className"] != "ResilientError"]


@pytest.mark.parametrize("entry", CLASSES, ids=lambda entry: str(entry["className"]))
def test_a_class_of_the_reference_has_its_words(entry: dict[str, Any]) -> None:
    """Type, parent, prefix and default are the recorded ones; it survives the wire and a process pool."""
    cls = getattr(errors, entry["className"])
    parent = getattr(errors, entry["parentClass"])
    assert issubclass(cls, parent)
    assert cls.wire_type == entry["typeName"]
    assert cls("boom").message == entry["withArg_boom"]["message"]
    assert cls().message == entry["withNoArg"]["message"]
    read = ResilientError.unmarshal(cls("boom").marshal())
    assert (type(read), read.type, read.message) == (cls, cls.wire_type, cls("boom").message)
    copied = pickle.loads(pickle.dumps(read))
    assert (type(copied), copied.message, copied.remote) == (cls, read.message, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SocketErrorTimeout|||socket:timeout:call|||STACK", ("SocketErrorTimeout", "socket:timeout:call", "STACK")),
        ("SocketErrorTimeout|||x", ("SocketErrorTimeout", "x", None)),
        ("SocketErrorTimeout||||||S", ("SocketErrorTimeout", "", "S")),
        ("ResilientError|||boom|||S", ("ResilientError", "boom", "S")),
        ("boom|||Error: boom\n    at x", ("ResilientError", "boom", "Error: boom\n    at x")),
        ("t|||TypeError: t\n    at x", ("ResilientError", "t", "TypeError: t\n    at x")),
        ("a|||b|||Error: a|||b\n    at x", ("ResilientError", "a|||b", "Error: a|||b\n    at x")),
        ("|||Error\n    at x", ("ResilientError", "", "Error\n    at x")),
        ("Mine|||words|||S|||T", ("Mine", "words", "S|||T")),
        ("Mine|||words", ("Mine", "words", None)),
        ("object message||||||Error\n at x", ("object message", "", "Error\n at x")),
        ("just text", ("ResilientError", "just text", None)),
        ("", ("ResilientError", "", None)),
        ({"message": "ü"}, ("ResilientError", '{"message": "ü"}', None)),
        (None, ("ResilientError", "null", None)),
    ],
)
def test_what_a_peer_marshalled_is_read_by_the_four_rules(text: object, expected: tuple[str, str, str | None]) -> None:
    """A registered type, a shifted plain error, an unknown type, plain text; in this order."""
    error = ResilientError.unmarshal(text)
    assert (error.type, error.message, error.original_stack) == expected
    assert error.remote


def test_the_shifted_error_of_the_recordings_is_read() -> None:
    """What the reference sends for ``throw new Error('boom')`` has its message where messages are."""
    recorded = load("frames.json")["s2c"]["error (plain Error('boom'))"]
    payload = __import__("json").loads(recorded)["payload"]
    assert ResilientError.unmarshal(payload).message == "boom"


@pytest.mark.parametrize(
    ("error", "code", "retryable", "parent"),
    [
        (SocketTimeout("x"), "TIMEOUT", True, TimeoutError),
        (SocketConnectionError("x"), "CONNECTION_LOST", True, ConnectionError),
        (SocketUnauthorized("x"), "AUTH_FAILED", False, PermissionError),
        (SocketUnsupported("x"), "UNSUPPORTED", False, ConnectionError),
        (errors.SocketInitializationError("x"), "INITIALIZATION", False, Exception),
        (errors.SocketMessageError("x"), "MESSAGE", False, Exception),
        (SocketMessageMalformed("x"), "MALFORMED", False, Exception),
        (errors.SocketError("x"), "ERROR", False, Exception),
        (AuthError("x"), "AUTH_FAILED", False, Exception),
        (errors.AuthFailedError("x"), "AUTH_FAILED", False, Exception),
    ],
)
def test_an_error_has_a_code_and_a_parent_in_the_standard_library(
    error: ResilientError, code: str, retryable: bool, parent: type[BaseException]
) -> None:
    """Users may match on the code, or on the exception they know."""
    assert (error.code, error.retryable) == (code, retryable)
    assert isinstance(error, parent)
    assert str(error) == error.message
    assert code in repr(error)


def test_ensure_makes_an_error_of_anything() -> None:
    """Errors stay what they are, exceptions keep their name and cause, text is read."""
    timeout = SocketTimeout("x")
    assert ResilientError.ensure(timeout) is timeout
    cause = ValueError("no")
    ensured = ResilientError.ensure(cause)
    assert (ensured.type, ensured.message, ensured.__cause__) == ("ValueError", "no", cause)
    assert str(ensured) == "ValueError: no"
    assert isinstance(ResilientError.ensure("SocketErrorTimeout|||x"), SocketTimeout)


def test_an_error_is_written_with_the_stack_it_came_with() -> None:
    """Type and message always; the stack only where a peer sent one."""
    assert ResilientError("T", "m", "s").marshal() == "T|||m|||s"
    assert SocketTimeout("call").marshal() == "SocketErrorTimeout|||socket:timeout:call"


def test_errors_of_users_cross_the_wire_as_what_they_are() -> None:
    """A registered class is read again without its constructor; a type belongs to one class only."""

    @register_error_class
    class OutOfOwls(ResilientError):
        """A class of a user's, whose constructor takes other arguments."""

        def __init__(self, count: int) -> None:
            super().__init__("OutOfOwls", f"{count} owls are missing")

    read = ResilientError.unmarshal(OutOfOwls(3).marshal())
    assert (type(read), read.message) == (OutOfOwls, "3 owls are missing")
    with pytest.raises(ValueError, match="belongs to OutOfOwls already"):
        register_error_class(type("OutOfOwls", (ResilientError,), {}))
    with pytest.raises(ValueError, match="not a subclass"):
        register_error_class(ValueError)  # type: ignore[type-var]
