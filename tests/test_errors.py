"""Errors: their tree, and their text form as the reference reads and writes it."""

from __future__ import annotations

import copy
import json
import pickle
import time
from email.utils import formatdate
from typing import Any

import pytest

from owlsocket_sync import Backoff, connect, errors
from owlsocket_sync.errors import (
    AuthError,
    ResilientError,
    SocketConnectionError,
    SocketMessageMalformed,
    SocketTimeout,
    SocketUnauthorized,
    SocketUnsupported,
    marshal_for_peer,
    register_error_class,
)
from owlsocket_sync.errors.http_status import parse_retry_after
from owlsocket_sync.server import serve
from support.helpers import load, scaled
from support.pair import make_pair

VECTORS = load("errors.json")
CLASSES = [entry for entry in VECTORS["classes"] if entry["className"] != "ResilientError"]


@pytest.mark.parametrize("entry", CLASSES, ids=lambda entry: str(entry["className"]))
def test_a_class_has_the_recorded_type_parent_prefix_and_default(entry: dict[str, Any]) -> None:
    """It survives the wire and a process pool."""
    cls = getattr(errors, entry["className"])
    parent = getattr(errors, entry["parentClass"])
    assert issubclass(cls, parent)
    assert cls.wire_type == entry["typeName"]
    assert cls("boom").message == entry["withArg_boom"]["message"]
    assert cls().message == entry["withNoArg"]["message"]
    text = f"{cls.wire_type}|||{entry['withArg_boom']['message']}"
    assert errors.marshal_for_peer(cls("boom")) == text
    assert cls().marshal() == f"{cls.wire_type}|||{entry['withNoArg']['message']}"
    read = ResilientError.unmarshal(text)
    assert (type(read), read.type, read.message) == (cls, cls.wire_type, cls("boom").message)
    copied = pickle.loads(pickle.dumps(read))
    assert (type(copied), copied.message, copied.remote, copied.marshal()) == (cls, read.message, True, text)


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
def test_a_marshalled_error_is_parsed_by_four_rules(text: object, expected: tuple[str, str, str | None]) -> None:
    """A registered type, a shifted plain error, an unknown type, plain text; in this order."""
    error = ResilientError.unmarshal(text)
    assert (error.type, error.message, error.original_stack) == expected
    assert error.remote


def test_the_reference_finds_the_message_of_a_plain_error() -> None:
    """As it was recorded: behind a type that it knows, and not behind one that it does not know."""
    read = {entry["input"]: entry["result"]["message"] for entry in VECTORS["ensureStrings"]}
    assert read["ResilientError|||some message|||s"] == "some message"
    assert read["Unknown|||msg"] != "msg"


PLAIN = [
    (ValueError("no such dish"), "ResilientError|||no such dish|||ValueError: no such dish"),
    (LookupError(), "ResilientError||||||LookupError"),
    (RuntimeError("a|||b"), "ResilientError|||a|||b|||RuntimeError: a|||b"),
    (OSError("two\nlines"), "ResilientError|||two\nlines|||OSError: two\nlines"),
    (KeyError("x: y"), "ResilientError|||'x: y'|||KeyError: 'x: y'"),
]


@pytest.mark.parametrize(("error", "text"), PLAIN, ids=[type(error).__name__ for error, _ in PLAIN])
def test_a_plain_error_is_written_as_the_reference_reads_it(error: Exception, text: str) -> None:
    """Its message is behind a type that the reference knows; our end finds the name of the class behind the message."""
    assert marshal_for_peer(error) == ResilientError.ensure(error).marshal() == text
    read = ResilientError.unmarshal(text)
    assert (read.type, read.message, read.original_stack) == (type(error).__name__, str(error), None)
    for forwarded in (read, pickle.loads(pickle.dumps(read)), copy.copy(read)):
        assert (forwarded.marshal(), marshal_for_peer(forwarded)) == (text, text)


@pytest.mark.parametrize("error", [error for error, _ in PLAIN], ids=lambda error: type(error).__name__)
def test_a_plain_error_may_have_a_stack(error: Exception) -> None:
    """It begins with the name, as one of JavaScript does, and is not sent on to another peer."""
    text = marshal_for_peer(error, "Traceback:\n  in it")
    read = ResilientError.unmarshal(text)
    assert (read.type, read.message, read.marshal()) == (type(error).__name__, str(error), text)
    assert (read.original_stack or "").endswith("\nTraceback:\n  in it")
    assert marshal_for_peer(read) == marshal_for_peer(error)


def test_a_plain_error_of_javascript_keeps_its_name() -> None:
    """As the reference marshals it where it does not shift it."""
    read = ResilientError.unmarshal("ResilientError|||t|||TypeError: t\n    at x")
    assert (read.type, read.message, read.original_stack) == ("TypeError", "t", "TypeError: t\n    at x")


@pytest.mark.parametrize(
    "stack", ["S", "TypeError: other", "TypeError: boomerang", ": boom", "Two words: boom", "boom"]
)
def test_a_stack_that_does_not_repeat_the_message_names_nothing(stack: str) -> None:
    """It is a stack, and no more."""
    read = ResilientError.unmarshal(f"ResilientError|||boom|||{stack}")
    assert (read.type, read.message, read.original_stack) == ("ResilientError", "boom", stack)


def test_a_plain_class_of_the_peer_is_raised_as_the_class_registered_for_its_name() -> None:
    """The peer need not know that it is registered here."""

    @register_error_class
    class NoSuchDish(ResilientError):
        """A class of this end alone."""

    read = ResilientError.unmarshal("ResilientError|||pie|||NoSuchDish: pie")
    assert (type(read), read.type, read.message) == (NoSuchDish, "NoSuchDish", "pie")


def test_a_recorded_shifted_error_is_parsed() -> None:
    """The reference sends ``throw new Error('boom')`` with the message in the place of the type."""
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
        (errors.MissingExtra("x", "flask"), "INITIALIZATION", False, ImportError),
        (errors.SocketMessageError("x"), "MESSAGE", False, Exception),
        (SocketMessageMalformed("x"), "MALFORMED", False, Exception),
        (errors.SocketError("x"), "ERROR", False, Exception),
        (errors.StoreError("x"), "STORE", False, errors.SocketError),
        (errors.StoreFull("x"), "STORE_FULL", True, errors.StoreError),
        (errors.StoreCorrupt("x"), "STORE_CORRUPT", False, errors.StoreError),
        (AuthError("x"), "AUTH_FAILED", False, Exception),
        (errors.AuthFailedError("x"), "AUTH_FAILED", False, Exception),
    ],
)
def test_an_error_has_a_code_and_a_parent_in_the_standard_library(
    error: ResilientError, code: str, retryable: bool, parent: type[BaseException]
) -> None:
    """Users may match on the code, or on a builtin exception."""
    assert (error.code, error.retryable) == (code, retryable)
    assert isinstance(error, parent)
    assert str(error) == error.plain_message
    assert code in repr(error)


def test_ensure_returns_a_resilient_error_for_any_value() -> None:
    """Errors stay the same, exceptions keep their name and cause, text is unmarshalled."""
    timeout = SocketTimeout("x")
    assert ResilientError.ensure(timeout) is timeout
    cause = ValueError("no")
    ensured = ResilientError.ensure(cause)
    assert (ensured.type, ensured.message, ensured.__cause__) == ("ValueError", "no", cause)
    assert str(ensured) == "ValueError: no"
    assert isinstance(ResilientError.ensure("SocketErrorTimeout|||x"), SocketTimeout)


def test_an_error_is_marshalled_with_the_stack_of_the_peer() -> None:
    """Type and message always; a stack only if the peer sent one."""
    assert ResilientError("T", "m", "s").marshal() == "T|||m|||s"
    assert SocketTimeout("call").marshal() == "SocketErrorTimeout|||socket:timeout:call"


@pytest.mark.parametrize("error", [SocketTimeout("late"), SocketUnsupported("late"), AuthError("late")])
def test_the_prefix_of_the_wire_is_never_shown(error: ResilientError) -> None:
    """Neither where an error is raised nor where a peer receives it."""
    read = ResilientError.unmarshal(error.marshal())
    for shown in (error, read, copy.copy(read), pickle.loads(pickle.dumps(read))):
        assert (shown.plain_message, str(shown), shown.args) == ("late", "late", ("late",))
    assert "late" not in error.wire_prefix
    assert f"|||{error.wire_prefix}late" in error.marshal()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SocketErrorTimeout|||socket:timeout:call", "call"),
        ("SocketErrorTimeout|||call", "call"),
        ("SocketErrorTimeout|||socket:timeout:socket:timeout:call|||S", "socket:timeout:call"),
        ("SocketErrorTimeout|||socket:message:call", "socket:message:call"),
        ("SocketErrorTimeout|||socket:timeout:", ""),
        ("SocketErrorTimeout|||", ""),
        ("ResilientError|||socket:timeout:call", "socket:timeout:call"),
        ("Mine|||socket:timeout:call", "socket:timeout:call"),
    ],
)
def test_an_error_is_forwarded_unchanged(text: str, message: str) -> None:
    """With the prefix that the peer sent, or without; other text that looks like a prefix belongs to the message."""
    read = ResilientError.unmarshal(text)
    assert read.plain_message == message
    assert read.message == text.split("|||", 1)[1].removesuffix("|||S")  # as it stands
    for sent in (read, pickle.loads(pickle.dumps(read))):
        assert sent.marshal() == text
    assert errors.marshal_for_peer(read) == text.removesuffix("|||S")


def test_an_error_without_a_message_is_shown_by_its_type() -> None:
    """The reference sends a placeholder for the message, which means nothing to people."""
    assert str(SocketTimeout()) == "SocketErrorTimeout: error"
    assert str(ResilientError.unmarshal("AuthFailedError|||api:auth:error")) == "AuthFailedError: error"
    assert str(ResilientError.unmarshal("SocketErrorTimeout|||socket:timeout:")) == "SocketErrorTimeout"


def test_a_registered_class_is_unmarshalled_without_its_constructor() -> None:
    """A type belongs to one class only."""

    @register_error_class
    class OutOfOwls(ResilientError):
        """A class of a user's, whose constructor takes other arguments."""

        def __init__(self, count: int) -> None:
            super().__init__("OutOfOwls", f"{count} owls are missing")

    read = ResilientError.unmarshal(OutOfOwls(3).marshal())
    assert (type(read), read.message) == (OutOfOwls, "3 owls are missing")
    with pytest.raises(ValueError, match="is already registered for OutOfOwls"):
        register_error_class(type("OutOfOwls", (ResilientError,), {}))
    with pytest.raises(ValueError, match="not a subclass"):
        register_error_class(ValueError)  # type: ignore[type-var]


def test_unmarshal_never_raises_and_is_fast() -> None:
    """For nesting that Python cannot show, and for millions of separators."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert ResilientError.unmarshal(deep).message in ("<list>", "[" * 5001 + "]" * 5001)  # as the interpreter can bear
    assert ResilientError.unmarshal({(1, 2): 3}).message == "<dict>"
    for text in (
        "|||" * 2_000_000,
        "ResilientError" + "|||E: " * 500_000,
        "E|||Error: " * 500_000,
        "|||" + "Error" * 1_000_000,
    ):
        assert ResilientError.unmarshal(text).remote


class Broken(Exception):
    """No text."""

    def __str__(self) -> str:
        raise RuntimeError


class Leaving(Exception):
    """A text that wants to end the program."""

    def __str__(self) -> str:
        raise SystemExit


class Wordless(Exception):
    """A text that is none."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Bare(ResilientError):
    """An error of the package whose constructor does not call that of its base."""

    def __init__(self) -> None:
        pass


class Computed(ResilientError):
    """An error of the package whose message is computed, and cannot be."""

    @property
    def message(self) -> str:
        raise LookupError

    @message.setter
    def message(self, message: str) -> None: ...


UNSPEAKABLE = [Broken, Leaving, Wordless, Bare, Computed]


@pytest.mark.parametrize("error", UNSPEAKABLE)
def test_an_exception_whose_str_raises_is_shown_by_its_type(error: type[Exception]) -> None:
    """User code may raise anything."""
    ensured = ResilientError.ensure(error())
    assert marshal_for_peer(error()).startswith("ResilientError|||")
    assert ensured.type == {Bare: "", Computed: "ResilientError"}.get(error, error.__name__)
    assert repr(ensured)
    assert error is Computed or str(ensured) is not None
    assert ResilientError.ensure(Broken()).message == "<Broken>"


@pytest.mark.parametrize("error", UNSPEAKABLE)
def test_an_exception_whose_str_raises_is_answered_and_reported(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it is raised: the caller gets its answer, and the observers after it are called."""
    left, right, *_ = make_pair()
    seen: list[Any] = []

    def fail(*_: Any) -> Any:
        raise error()

    right.perform("fail", fail)
    right.observe("it", fail)
    right.observe("it", seen.append)
    right.perform("typed", lambda value: value)
    with pytest.raises(ResilientError):
        left.call("fail")
    left.notify("it")
    with pytest.raises(ResilientError):
        left.call("typed", 1, result_type=fail)
    right.authenticate = fail
    with pytest.raises(ResilientError):
        left.auth("init", {})
    assert len(seen) == 1
    assert len(caplog.records) >= 2
    assert all(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("error", [Broken, Leaving, Wordless])
@pytest.mark.parametrize("option", ["token", "auth"])
def test_an_exception_whose_str_raises_does_not_end_the_reader(option: str, error: type[Exception]) -> None:
    """Nor does one that a callable for ``token=`` raises, or ``auth=``: the next attempt may succeed."""
    attempts: list[None] = []

    def fail_once(*_: Any) -> str:
        attempts.append(None)
        if len(attempts) == 1:
            raise error()
        return "token"

    with serve(lambda conn, request: None, authenticate=lambda request: "anybody") as server:
        options: dict[str, Any] = {option: fail_once}
        conn = connect(server.url, wait=False, reconnect=Backoff(initial=0.01, jitter="none"), **options)
        try:
            conn.wait_open(scaled(5))
        finally:
            conn.close()


def test_attributes_survive_copies_and_pickles() -> None:
    """Those of subclasses too, and for errors that were never on the wire."""
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
    """Each is unmarshalled as its own class, never as a parent."""
    entry = VECTORS["classes"][number]
    types = [known["typeName"] for known in VECTORS["classes"]]
    assert types.count(entry["typeName"]) == 1
    assert type(ResilientError.unmarshal(f"{entry['typeName']}|||m")).__name__ == entry["className"]


@pytest.mark.parametrize("caught", [OSError, Exception])
def test_connection_errors_are_os_errors(caught: type[Exception]) -> None:
    """Code that was written for sockets catches them."""
    for error in (SocketConnectionError("x"), SocketTimeout("x"), SocketUnauthorized("x")):
        assert isinstance(error, caught)
        assert str(error).endswith("x")


def test_the_stack_of_a_peer_is_forwarded() -> None:
    """Also when it contains the separator."""
    error = ResilientError.unmarshal("SocketErrorTimeout|||m|||s|||t")
    assert error.marshal() == "SocketErrorTimeout|||m|||s|||t"


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(90, 80, 90), (-90, 0, 0), (10**6, 3600, 3600)], ids=["soon", "past", "far"]
)
def test_a_pause_may_end_at_a_date(seconds: int, least: float, most: float) -> None:
    """An hour at most; a date that has passed asks for no pause (RFC 9110, section 10.2.3)."""
    pause = parse_retry_after(formatdate(time.time() + seconds, usegmt=True))
    assert pause is not None
    assert least <= pause <= most


@pytest.mark.parametrize("value", [None, "", "soon", "1.5", "Thu, 99 Nov 2026 08:00:00 GMT", "²", "9" * 5000 + "x"])
def test_a_pause_that_cannot_be_read_is_none(value: str | None) -> None:
    """A header of a server never raises."""
    assert parse_retry_after(value) is None


def test_an_error_without_a_message_is_told_by_its_type() -> None:
    """No colon is left with nothing behind it."""
    assert str(ResilientError("Overloaded")) == "Overloaded"
    assert str(ResilientError("Overloaded", "try later")) == "Overloaded: try later"
