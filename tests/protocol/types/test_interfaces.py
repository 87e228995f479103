"""Converted results, proxies whose methods are calls, and exposed objects whose methods answer calls."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Protocol

import pytest

from owlsocket_sync import Connection, ResilientError, SocketMessageMalformed, SocketTimeout, SocketUnsupported
from owlsocket_sync.protocol.types.interfaces import convert
from owlsocket_sync.protocol.types.public_methods import public_methods
from support.pair import make_pair


@dataclass
class Point:
    """A plain dataclass."""

    x: int
    y: int = 0


@dataclass
class Read:
    """A class with a ``from_dict``, like those of ``dataclasses-json``."""

    value: int

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Read:
        """From what came."""
        return cls(fields["v"])


def refuse(value: Any) -> Any:
    """Convert a value, and fail with an error of the package."""
    raise SocketTimeout("mine")


@pytest.mark.parametrize(
    ("value", "result_type", "expected"),
    [
        ({"x": 1}, None, {"x": 1}),
        ({"x": 1}, Point, Point(1)),
        ({"v": 5}, Read, Read(5)),
        (5, int, 5),
        ([1, 1], set, {1}),
        ([[1, 2]], lambda pairs: [Point(*pair) for pair in pairs], [Point(1, 2)]),
        (["a"], list[str], ["a"]),
    ],
)
def test_a_result_is_converted(value: Any, result_type: Any, expected: Any) -> None:
    """To a dataclass by its fields, to anything else by a call."""
    assert convert(value, result_type, "it") == expected


@pytest.mark.parametrize(
    ("value", "result_type", "words"),
    [
        (None, Point, "it is not a Point: TypeError: expected an object, got NoneType"),
        ({"z": 1}, Point, "it is not a Point: TypeError"),
        ({}, Read, "it is not a Read: KeyError: 'v'"),
        ("5", int, "it is not an int: TypeError: expected int, got str"),
        (1, 5, "it is not a 5: TypeError"),
    ],
)
def test_a_failed_conversion_is_malformed(value: Any, result_type: Any, words: str) -> None:
    """The error names the type and the reason."""
    with pytest.raises(SocketMessageMalformed, match=words) as refused:
        convert(value, result_type, "it")
    assert refused.value.__cause__ is not None


def test_an_error_of_the_package_passes_through_a_conversion() -> None:
    """Its type and message are kept."""
    with pytest.raises(SocketTimeout, match="mine"):
        convert(1, refuse, "it")
    with pytest.raises(SocketTimeout, match="mine"):
        convert([1], list[refuse], "it")  # type: ignore[valid-type]


class Base(Protocol):
    """The base of an interface."""

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


def test_public_methods_are_callable_attributes() -> None:
    """Without classes, properties, values, and names with a leading underscore."""
    assert [name for name, _ in public_methods(Board())] == ["hello", "kind", "point", "still"]


class Shelf(dict[str, Any]):
    """A class with a base of Python, values that are computed, and functions that are assigned."""

    def __init__(self) -> None:
        super().__init__(x=1)
        self.run = subprocess.getoutput
        vars(self)["find"] = subprocess.getoutput

    def find(self, name: str) -> Any:
        """Its own method."""
        return self[name]

    @cached_property
    def expensive(self) -> Any:
        """Must not be evaluated."""
        raise AssertionError

    @lru_cache  # noqa: B019
    def cached(self) -> str:
        """A method that a decorator wraps."""
        return "cached"

    class Bound:
        """A decorator that binds by code of its own."""

        binds = 0

        def __call__(self) -> None: ...

        def __get__(self, shelf: object, owner: type) -> Any:
            Shelf.Bound.binds += 1
            return lambda: "bound"

    decorated = Bound()

    def __dir__(self) -> list[str]:
        return ["ghost", *super().__dir__()]

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked up")

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def test_only_what_a_class_and_its_own_bases_define_is_published() -> None:
    """Not what Python's own bases define, nor what was assigned to the object; nothing is evaluated."""
    methods = dict(public_methods(Shelf()))
    assert sorted(methods) == ["cached", "decorated", "find"]
    assert Shelf.Bound.binds == 0
    assert methods["find"]("x") == 1
    assert methods["cached"]() == "cached"
    assert methods["decorated"]() == "bound"
    assert sorted(dict(public_methods(type("Further", (Shelf,), {"more": lambda self: 1})()))) == [
        "cached",
        "decorated",
        "find",
        "more",
    ]


@dataclass
class Tray:
    """A dataclass with a value that can be called."""

    on_serve: Callable[[str], object] = print
    log: ClassVar[Callable[[str], object]] = print

    def serve(self) -> None:
        """Its only method."""


def test_the_default_value_of_a_field_is_not_published() -> None:
    """Though it can be called: it is a value that each object may replace."""
    assert [name for name, _ in public_methods(Tray())] == ["serve"]
    assert [name for name, _ in public_methods(Tray)] == ["serve"]


def test_the_names_to_publish_can_be_listed(ends: tuple[Connection, Connection]) -> None:
    """A listed name may be inherited from Python, or assigned; one that does not exist is refused."""
    left, right = ends
    with right.expose(Shelf(), only=["get", "run"]):
        assert left.call("get", "x") == 1
        assert left.call("run", "echo 1") == "1"
        with pytest.raises(SocketUnsupported):
            left.call("find", "x")
    for name in ("ghost", "expensive", "__len__", 5):
        with pytest.raises(ValueError, match="no public method"):
            right.expose(Shelf(), only=[name])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="only"):
        right.expose(Shelf(), only="get")


def test_a_module_publishes_its_own_functions_only() -> None:
    """Those that it imports are functions of others."""
    assert "dump" in dict(public_methods(json))
    assert "JSONDecoder" not in dict(public_methods(json))
    assert "get_origin" not in dict(public_methods(dataclasses))


def test_an_object_answers_under_its_prefix_only(ends: tuple[Connection, Connection]) -> None:
    """Until it is unsubscribed; the performer before it is restored."""
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
    """The interface without keyword-only parameters."""

    def hello(self) -> str:
        """Inherited there."""

    def point(self, x: int, y: int = 7) -> Point:
        """Typed."""


def test_a_proxy_calls_by_name_with_defaults_and_types(ends: tuple[Connection, Connection]) -> None:
    """Errors are those of any call; wrong arguments are never sent."""
    left, right = ends
    right.expose(Board())
    board = left.proxy(Callable_)
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


def test_keyword_only_parameters_are_refused(ends: tuple[Connection, Connection]) -> None:
    """When the proxy is made, not when it is used."""
    with pytest.raises(ValueError, match="maybe: a call carries positional arguments only"):
        ends[0].proxy(Shapes)


def test_inherited_methods_are_part_of_an_interface(ends: tuple[Connection, Connection]) -> None:
    """For a proxy and for an exposed object."""
    left, right = ends
    right.expose(Board())
    assert left.proxy(Base).hello() == "hello"
