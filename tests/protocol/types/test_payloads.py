"""Typed payloads on a connection: results, events, responses and messages by a type, arguments by annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
from typing_extensions import assert_type

from owlsocket_sync import (
    CallFuture,
    CallResults,
    Connection,
    ErrorContext,
    EventMessage,
    SocketMessageMalformed,
    SocketUnsupported,
    connect,
)
from owlsocket_sync.protocol.requests import ConvertedStream, Stream
from owlsocket_sync.server import Request, serve
from support.helpers import scaled
from support.pair import RecordingCarrier, make_pair

if TYPE_CHECKING:
    from fractions import Fraction

NOON = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


class Role(Enum):
    """The role of a user."""

    ADMIN = "admin"
    GUEST = "guest"


@dataclass
class User:
    """A user."""

    name: str
    email: str
    role: Role = Role.GUEST
    since: datetime = NOON
    tags: set[str] = field(default_factory=set)


ADA = User("Ada", "ada@owl", Role.ADMIN, NOON, {"math"})
ADA_JSON = {"name": "Ada", "email": "ada@owl", "role": "admin", "since": "2024-02-29T12:00:00+00:00", "tags": ["math"]}


class Ends:
    """Two ends, of which the right one echoes, and the errors of both."""

    def __init__(self) -> None:
        carriers: tuple[RecordingCarrier, RecordingCarrier]
        self.left, self.right, *carriers = make_pair()  # type: ignore[assignment]
        self.carriers = carriers
        self.errors: list[tuple[BaseException, ErrorContext]] = []
        self.left.on_error(lambda error, context: self.errors.append((error, context)))
        self.right.on_error(lambda error, context: self.errors.append((error, context)))
        self.right.perform("echo", lambda value: value)

    def take_errors(self) -> list[tuple[str, str]]:
        """Return the errors with their contexts, and forget them."""
        taken, self.errors = [(str(error), str(context)) for error, context in self.errors], []
        return taken


@pytest.fixture
def ends() -> Ends:
    """Two ends."""
    return Ends()


# -- calls


def test_results_are_converted(ends: Ends) -> None:
    """By `call`, and by `submit`, whose future has the converted result."""
    assert ends.left.call("echo", ADA) == ADA_JSON
    assert ends.left.call("echo", ADA, result_type=User) == ADA
    assert ends.left.call("echo", {"ada": ADA}, result_type=dict[str, User]) == {"ada": ADA}
    assert ends.left.submit("echo", [ADA], result_type=list[User]).result(0) == [ADA]
    assert ends.left.call("echo", None, result_type=User | None) is None
    assert ends.left.call("echo", np.arange(3), result_type=list[int]) == [0, 1, 2]
    assert ends.left.call("echo", Decimal("0.10"), result_type=Decimal) == Decimal("0.10")
    assert ends.left.call("echo", b"raw", result_type=bytes) == b"raw"


def test_a_result_that_does_not_fit_raises_at_the_caller(ends: Ends) -> None:
    """The error names the place."""
    wrong = [ADA_JSON, {**ADA_JSON, "email": 5}]
    with pytest.raises(
        SocketMessageMalformed, match=r"the result of 'echo' is not a list\[User\]: .*: \[1\].email: expected str"
    ):
        ends.left.call("echo", wrong, result_type=list[User])
    future = ends.left.submit("echo", {}, result_type=User)
    with pytest.raises(SocketMessageMalformed, match="the result of 'echo' is not a User: TypeError: name: missing"):
        future.result(0)


def first_name(payload: dict[str, str]) -> str:
    """Return the first name in a payload."""
    return payload["name"].split()[0]


async def awaited_for_mypy(conn: Connection) -> None:
    """Assert the types of what a task awaits."""
    assert_type(await conn.submit("m"), Any)
    assert_type(await conn.submit("m", result_type=User), User)
    assert_type(await conn.submit("m", result_type=list[User]), list[User])


def checked_by_mypy(conn: Connection) -> None:
    """Assert the types that type checkers infer."""
    assert_type(conn.call("m"), Any)
    assert_type(conn.call("m", result_type=None), Any)
    assert_type(conn.call("m", result_type=User), User)
    assert_type(conn.call("m", 1, "a", result_type=list[User], timeout=1, retry=True), list[User])
    assert_type(conn.call("m", result_type=Role), Role)
    assert_type(conn.call("m", result_type=first_name), str)
    assert_type(conn.submit("m"), CallFuture[Any])
    assert_type(conn.submit("m", result_type=User), CallFuture[User])
    assert_type(conn.submit("m", result_type=dict[str, datetime]), CallFuture[dict[str, datetime]])
    assert_type(conn.submit("m", result_type=User).result(), User)
    assert_type(conn.map("m", [1]), CallResults[Any])
    assert_type(conn.map("m", [1], result_type=User), CallResults[User])
    assert_type(conn.map("m", [1], result_type=User, errors="return"), CallResults[User | Exception])
    for each in conn.map("m", [1], result_type=list[User]):
        assert_type(each, list[User])
    assert_type(conn.stream(1), Stream)
    assert_type(conn.stream(1, payload_type=User), ConvertedStream[User])
    for user in conn.stream(1, payload_type=User):
        assert_type(user, User)
    conn.call("m", result_type=User).nme  # type: ignore[attr-defined]  # noqa: B018


# -- interfaces


class Users(Protocol):
    """The interface."""

    def add(self, user: User, times: int = 1) -> list[User]:
        """Somebody new."""

    def roles(self) -> dict[Role, list[User]]:
        """Who is what."""

    def find(self, name: str) -> User | None:
        """Somebody, or nobody."""

    def count(self) -> int:
        """A number, and no text that looks like one."""

    def forget(self, *users: User) -> None:
        """No result is looked at."""

    def anything(self) -> Any:
        """As it came."""


class Even:
    """A class that is called with the raw value."""

    def __init__(self, number: int) -> None:
        if number % 2:
            raise SocketUnsupported("odd")
        self.half = number // 2


class Book:
    """The implementation."""

    def __init__(self) -> None:
        self.users: list[User] = []
        self.halve = partial(self._halve, 2)
        self.dozen: Any = "12"

    def add(self, user: User, times: int = 1) -> list[User]:
        """Annotated."""
        self.users += [user] * times
        return self.users

    def roles(self) -> dict[Role, list[User]]:
        """Enums as keys."""
        return {role: [user for user in self.users if user.role is role] for role in Role}

    def find(self, name: str) -> User | None:
        """One, or none."""
        return next((user for user in self.users if user.name == name), None)

    def count(self) -> int:
        """A wrong one."""
        return self.dozen  # type: ignore[no-any-return]

    def forget(self, *users: User) -> Any:
        """Any number."""
        self.users = [user for user in self.users if user not in users]
        return len(self.users)

    def anything(self, *values, **_):  # type: ignore[no-untyped-def]
        """Methods without annotations."""
        return [type(value).__name__ for value in values]

    def judge(self, number: Even) -> Any:
        """Whose argument is of a class that has errors of its own."""
        return number.half

    biggest = staticmethod(max)

    def later(self, at: datetime, note=None) -> Fraction:  # type: ignore[no-untyped-def]
        """Whose result is nobody's business."""
        assert isinstance(at, datetime)
        return note  # type: ignore[no-any-return]

    @staticmethod
    def _halve(by: int, number: float) -> float:
        return number / by


def test_an_interface_is_typed_at_both_ends(ends: Ends) -> None:
    """Arguments and results arrive with the types that they were sent with."""
    ends.right.expose(Book(), prefix="users.")
    users = ends.left.proxy(Users, prefix="users.")
    bob = User("Bob", "bob@owl")
    assert users.add(ADA) == [ADA]
    assert users.add(bob, times=2) == [ADA, bob, bob]
    assert users.roles() == {Role.ADMIN: [ADA], Role.GUEST: [bob, bob]}
    assert users.find("Ada") == ADA
    assert users.find("Eve") is None
    users.forget(ADA, bob)
    assert ends.left.call("users.forget") == 0
    assert users.forget() is None
    with pytest.raises(
        SocketMessageMalformed, match=r"the result of 'users.count' is not an int: .* expected int, got str"
    ):
        users.count()


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("add", [{**ADA_JSON, "email": 5}], "argument user.email: expected str, got int"),
        ("add", [{**ADA_JSON, "tags": ["a", 1]}], "argument user.tags[1]: expected str, got int"),
        ("add", [{"name": "Ada"}], "argument user.email: missing"),
        ("add", [5], "argument user: expected an object, got int"),
        ("add", [ADA_JSON, "1"], "argument times: expected int, got str"),
        ("forget", [ADA_JSON, {}], "argument users[1].name: missing"),
        ("later", ["soon"], "argument at: ValueError: Invalid isoformat string: 'soon'"),
        ("halve", ["much"], "argument number: expected float, got str"),
    ],
)
def test_an_argument_that_does_not_fit_is_answered(ends: Ends, method: str, arguments: list[Any], words: str) -> None:
    """Caller and performing end receive the reason, and the method is not called."""
    book = Book()
    ends.right.expose(book)
    ends.right.expose(book, only=["halve"])
    with pytest.raises(SocketMessageMalformed) as refused:
        ends.left.call(method, *arguments)
    assert str(refused.value) == words
    assert ends.take_errors() == [(words, f"perform {method}")]
    assert book.users == []


def test_a_parameter_without_annotation_receives_the_raw_value(ends: Ends) -> None:
    """Whole methods and single parameters; a wrong number of arguments is reported by the method."""
    ends.right.expose(Book())
    ends.right.expose(Book(), only=["halve"])
    assert ends.left.call("anything", 1, "a", ADA) == ["int", "str", "dict"]
    assert ends.left.call("later", NOON, {"a": 1}) == {"a": 1}
    assert ends.left.call("halve", 3) == 1.5
    assert ends.left.call("biggest", 3, 5) == 5
    assert ends.left.proxy(Users).anything() == []
    assert ends.left.proxy(Bare).anything(1, ADA) == ["int", "dict"]  # type: ignore[no-untyped-call]
    for arguments in ([], [ADA_JSON, 1, 2]):
        with pytest.raises(Exception, match=r"add\(\) (missing|takes)"):
            ends.left.call("add", *arguments)


def test_other_classes_are_called_with_the_raw_value(ends: Ends) -> None:
    """Errors of the package that they raise are kept."""
    ends.right.expose(Book())
    assert ends.left.call("judge", 8) == 4
    with pytest.raises(SocketUnsupported, match="odd"):
        ends.left.call("judge", 7)
    with pytest.raises(SocketMessageMalformed, match="argument number: not all arguments converted"):
        ends.left.call("judge", "seven")


class Bare:
    """Methods without annotations."""

    def anything(self, *values):  # type: ignore[no-untyped-def]
        """Whatever comes."""


class Hidden:
    """Methods with annotations that cannot be used."""

    def guess(self, what: Fraction) -> None:
        """Not there when it runs."""

    def watch(self) -> Iterator[int]:
        """Not to be had from JSON."""
        return iter(())


class Watched:
    """A method with a parameter that no peer can send."""

    def watch(self, tell: Callable[[int], None]) -> None:
        """A function."""


def test_an_unusable_annotation_is_refused_at_once(ends: Ends) -> None:
    """By `proxy` and `expose`; the error names the method and the annotation."""
    with pytest.raises(TypeError, match=r"argument what of Hidden.guess: .*'Fraction' is not defined"):
        ends.right.expose(Hidden())
    with pytest.raises(TypeError, match=r"argument tell of Watched.watch: no JSON value can be converted to Callable"):
        ends.right.expose(Watched())
    with pytest.raises(TypeError, match=r"the result of Hidden.watch: no JSON value can be converted to Iterator"):
        ends.left.proxy(Hidden)


# -- events


def test_an_observer_receives_converted_payloads(ends: Ends) -> None:
    """Other observers of the event receive the raw payload; a decorated function is unchanged."""
    seen: list[Any] = []
    ends.right.observe("joined", lambda message: seen.append(message.payload), payload_type=User)

    @ends.right.observe("joined", payload_type=dict[str, Any])
    def joined(message: EventMessage) -> None:
        """Kept."""
        seen.append(message.payload["name"])

    ends.right.observe("joined", lambda message: seen.append(message.payload))
    subscription = ends.right.observe("*", joined, payload_type=Any)
    ends.left.notify("joined", ADA)
    assert seen == [ADA, "Ada", ADA_JSON, "Ada"]
    assert joined.__doc__ == "Kept."
    assert "joined" in repr(subscription)
    assert ends.take_errors() == []


def test_an_event_that_does_not_fit_is_reported(ends: Ends) -> None:
    """Its handler is not called; other handlers are, and so is this one for the next event."""
    seen: list[Any] = []
    ends.right.observe("joined", lambda message: seen.append(message.payload), payload_type=list[User])
    ends.right.observe("joined", lambda message: seen.append("other"))
    ends.left.notify("joined", [ADA_JSON, {**ADA_JSON, "role": "king"}])
    ends.left.notify("joined", [ADA])
    assert seen == ["other", [ADA], "other"]
    [(error, context)] = ends.take_errors()
    assert context == "observe joined"
    assert "payload of event 'joined' is not a list[User]: TypeError: [1].role: expected Role, got 'king'" in error


def test_iterated_events_are_converted(ends: Ends) -> None:
    """An event that does not fit raises, and the iteration can go on."""
    with ends.right.events("joined", limit=3, payload_type=User) as events:
        for payload in (ADA, {"name": 1}, ADA):
            ends.left.notify("joined", payload)
        assert next(events).payload == ADA
        with pytest.raises(
            SocketMessageMalformed, match=r"the payload of event 'joined' is not a User: .*name: expected str"
        ):
            next(events)
        assert [message.payload for message in events] == [ADA]


# -- requests


def test_responses_are_converted(ends: Ends) -> None:
    """By iteration, and by an observer, which receives further responses after one that does not fit."""

    def acknowledge(id: Any, payload: Any) -> bool:
        for response in (ADA, 5, ADA):
            ends.right.reply(id, response)
        return True

    ends.right.acknowledge(acknowledge)
    with ends.left.stream("all", payload_type=User) as stream:
        assert next(stream) == ADA
        with pytest.raises(
            SocketMessageMalformed, match="a response is not a User: TypeError: expected an object, got int"
        ):
            next(stream)
        assert next(stream) == ADA
    seen: list[User] = []
    ends.left.request("all", lambda user: (seen.append(user), True)[1], payload_type=User)
    assert seen == [ADA, ADA]
    [(error, context)] = ends.take_errors()
    assert "a response is not a User" in error
    assert context.startswith("request ")


def test_a_response_type_without_an_observer_is_refused(ends: Ends) -> None:
    """It would have no effect."""
    with pytest.raises(ValueError, match="payload_type is for an observer"):
        ends.left.request("all", payload_type=User)


# -- the queue


def test_messages_are_converted(ends: Ends) -> None:
    """The filter receives the raw message."""
    for payload in (ADA, {"name": "Bob", "email": "b"}, ADA):
        ends.left.enqueue(payload, "id")
    consumed = ends.right.consume(lambda payload: payload["name"] == "Bob", payload_type=User)
    assert consumed == (User("Bob", "b"), "id", 2)
    assert [message.payload for message in ends.right.messages(timeout=0, payload_type=User)] == [ADA, ADA]
    assert ends.right.consume(payload_type=User) is None


def test_a_message_that_does_not_fit_does_not_block_the_queue(ends: Ends) -> None:
    """It is consumed, and contained in the error."""
    for _ in range(2):
        ends.left.enqueue({"name": 5}, "odd")
        ends.left.enqueue(ADA, "good")
    with pytest.raises(
        SocketMessageMalformed, match="the payload of a message is not a User: TypeError: name: exp"
    ) as odd:
        ends.right.consume(payload_type=User)
    assert odd.value.fields == {"id": "odd", "payload": {"name": 5}}
    seen = []
    with pytest.raises(SocketMessageMalformed, match="the payload of a message is not a User"):
        for message in ends.right.messages(timeout=0, payload_type=User):
            seen.append(message.id)
    assert seen == ["good"]
    assert ends.right.enqueued() == 1


def test_a_message_whose_loop_body_raised_is_requeued_unconverted(ends: Ends) -> None:
    """It can be consumed again, as another type too."""
    ends.left.enqueue(ADA)
    with pytest.raises(ZeroDivisionError):
        for _ in ends.right.messages(payload_type=User):
            raise ZeroDivisionError
    consumed = ends.right.consume()
    assert consumed is not None
    assert consumed.payload == ADA_JSON


@pytest.mark.parametrize(
    "ask",
    [
        lambda conn: conn.observe("e", print, payload_type="User"),
        lambda conn: conn.observe("e", payload_type="User"),
        lambda conn: conn.events("e", payload_type="User"),
        lambda conn: conn.stream(1, payload_type="User"),
        lambda conn: conn.request(1, print, payload_type="User"),
        lambda conn: conn.consume(payload_type="User"),
        lambda conn: conn.messages(payload_type="User"),
    ],
)
def test_an_invalid_type_is_refused_at_once(ends: Ends, ask: Callable[[Connection], Any]) -> None:
    """Before anything is sent, consumed or registered."""
    ends.left.notify("nothing")
    before = ends.left.stats.messages_out
    with pytest.raises(TypeError, match="'User' is neither a type nor a callable"):
        ask(ends.left)
    assert ends.left.stats.messages_out == before


def test_typed_payloads_over_a_real_link() -> None:
    """In both directions, by every verb."""

    def handler(conn: Connection, request: Request) -> None:
        conn.on_error(lambda error, context: None)
        conn.expose(Book(), prefix="users.")

    with serve(handler) as server, connect(server.url) as conn:
        users = conn.proxy(Users, prefix="users.")
        assert users.add(ADA) == [ADA]
        futures = [conn.submit("users.find", "Ada", result_type=User) for _ in range(10)]
        assert [future.result(scaled(5)) for future in futures] == [ADA] * 10
        with pytest.raises(SocketMessageMalformed, match=r"argument user\.email: expected str, got int"):
            conn.call("users.add", {**ADA_JSON, "email": 5})
