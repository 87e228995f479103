"""Errors: one tree, read and written as the reference does, and never worse."""

from __future__ import annotations

import copy
import json
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
        (False, ("ResilientError", "false", None)),
        ([1, "ż"], ("ResilientError", '[1, "ż"]', None)),
        ("|||", ("ResilientError", "", None)),
        ("||||||", ("ResilientError", "", "")),
        ("boom|||Error: other\n    at x", ("boom", "Error: other\n    at x", None)),
        (
            "SocketErrorTimeout|||boom|||Error: SocketErrorTimeout|||boom",
            ("SocketErrorTimeout", "boom", "Error: SocketErrorTimeout|||boom"),
        ),
        ("|||a|||Error: |||a\n", ("ResilientError", "|||a", "Error: |||a\n")),
        (" SocketErrorTimeout|||x", (" SocketErrorTimeout", "x", None)),
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
    payload = json.loads(recorded)["payload"]
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


def test_reading_never_raises_and_never_takes_long() -> None:
    """Nesting that Python cannot show, and separators without end."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert ResilientError.unmarshal(deep).message in ("<list>", "[" * 5001 + "]" * 5001)  # as the interpreter can bear
    assert ResilientError.unmarshal({(1, 2): 3}).message == "<dict>"
    for text in ("|||" * 2_000_000, "E|||Error: " * 500_000, "|||" + "Error" * 1_000_000):
        assert ResilientError.unmarshal(text).remote


def test_an_exception_that_cannot_be_told_is_an_error_all_the_same() -> None:
    """By its type."""

    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    error = ResilientError.ensure(Broken())
    assert (error.type, error.message) == ("Broken", "<Broken>")


def test_facts_survive_copies_and_pickles() -> None:
    """All that an error knows, its own fields too; so do errors that were never on the wire."""
    error = SocketMessageMalformed("x")
    error.text, error.fields = "x" * 5, {"id": 1}
    refused = SocketUnauthorized("no")
    refused.status = 401
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(copied), copied.args, str(copied)) == (SocketMessageMalformed, error.args, str(error))
        assert (copied.text, copied.fields, copied.remote) == ("x" * 5, {"id": 1}, False)
    assert pickle.loads(pickle.dumps(refused)).status == 401


@pytest.mark.parametrize("number", range(len(VECTORS["classes"])))
def test_no_wire_type_belongs_to_two_classes(number: int) -> None:
    """And each is read as its own class, never as a parent."""
    entry = VECTORS["classes"][number]
    types = [one["typeName"] for one in VECTORS["classes"]]
    assert types.count(entry["typeName"]) == 1
    assert type(ResilientError.unmarshal(f"{entry['typeName']}|||m")).__name__ == entry["className"]


@pytest.mark.parametrize("caught", [OSError, Exception])
def test_errors_of_the_link_are_errors_of_the_system(caught: type[Exception]) -> None:
    """So that code written for sockets catches them."""
    for error in (SocketConnectionError("x"), SocketTimeout("x"), SocketUnauthorized("x")):
        assert isinstance(error, caught)
        assert str(error).endswith("x")


def test_a_stack_is_kept_where_a_peer_sent_one() -> None:
    """Also over a second crossing."""
    error = ResilientError.unmarshal("SocketErrorTimeout|||m|||s|||t")
    assert error.marshal() == "SocketErrorTimeout|||m|||s|||t"
