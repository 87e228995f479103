"""Types: results made what was asked for, objects whose methods are calls, and objects whose methods answer them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from pair import make_pair

from owlsocket_sync import Connection, ResilientError, SocketMessageMalformed, SocketTimeout, SocketUnsupported
from owlsocket_sync.protocol.typed import convert, public_methods


@dataclass
class Point:
    """A plain one."""

    x: int
    y: int = 0


@dataclass
class Read:
    """One that reads itself, as ``dataclasses-json`` has it."""

    value: int

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Read:
        """From what came."""
        return cls(fields["v"])


def refuse(value: Any) -> Any:
    """A converter with an error of its own."""
    raise SocketTimeout("mine")


@pytest.mark.parametrize(
    ("value", "result_type", "expected"),
    [
        ({"x": 1}, None, {"x": 1}),
        ({"x": 1}, Point, Point(1)),
        ({"v": 5}, Read, Read(5)),
        ("5", int, 5),
        ([1, 1], set, {1}),
        ([[1, 2]], lambda pairs: [Point(*pair) for pair in pairs], [Point(1, 2)]),
        (["a"], list[str], ["a"]),
    ],
)
def test_a_result_becomes_what_was_asked_for(value: Any, result_type: Any, expected: Any) -> None:
    """By keys for a dataclass, by a call for anything else."""
    assert convert(value, result_type, "it") == expected


@pytest.mark.parametrize(
    ("value", "result_type", "words"),
    [
        (None, Point, "it is no Point: TypeError: expected an object, got NoneType"),
        ({"z": 1}, Point, "it is no Point: TypeError"),
        ({}, Read, "it is no Read: KeyError: 'v'"),
        ("x", int, "it is no int: ValueError"),
        (1, 5, "it is no 5: TypeError"),
    ],
)
def test_what_cannot_be_made_is_malformed(value: Any, result_type: Any, words: str) -> None:
    """The error says of what, and why."""
    with pytest.raises(SocketMessageMalformed, match=words) as refused:
        convert(value, result_type, "it")
    assert refused.value.__cause__ is not None


def test_an_error_of_ours_in_a_converter_comes_through() -> None:
    """As what it is."""
    with pytest.raises(SocketTimeout, match="mine"):
        convert(1, refuse, "it")
    with pytest.raises(SocketTimeout, match="mine"):
        convert([1], list[refuse], "it")  # type: ignore[valid-type]


class Base(Protocol):
    """What each has."""

    def hello(self) -> str:
        """Inherited."""


class Shapes(Base, Protocol):
    """An interface."""

    def point(self, x: int, y: int = 7) -> Point:
        """Typed."""

    def maybe(self, *, retry: bool) -> None:
        """Kept out of it below."""


class Board:
    """An object with all kinds of attributes."""

    class Inner:
        """A class is no method."""

    number = 5

    def hello(self) -> str:
        """Public."""
        return "hello"

    def point(self, x: int, y: int) -> Point:
        """Public."""
        return Point(x, y)

    @staticmethod
    def still(x: Any) -> Any:
        """Public, too."""
        return x + 1

    @classmethod
    def kind(cls) -> str:
        """Public, too."""
        return cls.__name__

    @property
    def dear(self) -> Any:
        """Not even looked at."""
        raise AssertionError

    def _private(self) -> None:
        """Nobody's."""


@pytest.fixture
def ends() -> tuple[Connection, Connection]:
    """Two ends."""
    left, right, *_ = make_pair()
    for end in (left, right):
        end.on_error(lambda error, context: None)
    return left, right


def test_public_methods_are_what_can_be_called() -> None:
    """No classes, properties, values, and nothing that begins with an underscore."""
    assert [name for name, _ in public_methods(Board())] == ["hello", "kind", "point", "still"]


def test_an_object_answers_under_its_prefix_only(ends: tuple[Connection, Connection]) -> None:
    """Until its subscription is given up; what was performed before comes back."""
    left, right = ends
    right.perform("b.hello", lambda: "before")
    with right.expose(Board(), prefix="b.") as exposed:
        assert left.call("b.hello") == "hello"
        assert left.call("b.still", 1) == 2
        assert left.call("b.kind") == "Board"
        for name in ("hello", "b._private", "b.dear", "b.Inner", "b.number", "b.__init__", "b.__class__"):
            with pytest.raises(SocketUnsupported):
                left.call(name)
    assert not exposed.active
    assert left.call("b.hello") == "before"
    with pytest.raises(SocketUnsupported):
        left.call("b.still", 1)


class Callable_(Protocol):  # noqa: N801
    """The interface without what cannot be carried."""

    def hello(self) -> str:
        """Inherited there."""

    def point(self, x: int, y: int = 7) -> Point:
        """Typed."""


def test_a_proxy_calls_by_name_with_defaults_and_types(ends: tuple[Connection, Connection]) -> None:
    """Errors come as from any call; wrong arguments never leave."""
    left, right = ends
    right.expose(Board())
    board = left.proxy(Callable_)  # type: ignore[type-abstract]
    assert board.hello() == "hello"
    assert board.point(1) == Point(1, 7)
    assert board.point(y=2, x=1) == Point(1, 2)
    sent = left.stats.messages_out
    untyped: Any = board
    for positions, keywords in (((), {}), ((1, 2, 3), {}), ((1,), {"z": 2})):
        with pytest.raises(TypeError):
            untyped.point(*positions, **keywords)
    assert left.stats.messages_out == sent
    with pytest.raises(ResilientError, match="can only concatenate str"):
        left.call("still", "x")
    assert board.point.__doc__ == "Typed."


def test_keyword_only_arguments_have_no_place_on_the_wire(ends: tuple[Connection, Connection]) -> None:
    """Said when the proxy is made, not when it is used."""
    with pytest.raises(ValueError, match="maybe: calls carry arguments by position"):
        ends[0].proxy(Shapes)  # type: ignore[type-abstract]


def test_inherited_methods_are_part_of_an_interface(ends: tuple[Connection, Connection]) -> None:
    """Of a proxy as of an object."""
    left, right = ends
    right.expose(Board())
    assert left.proxy(Base).hello() == "hello"  # type: ignore[type-abstract]
