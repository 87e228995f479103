"""Conversion of JSON values to types, its errors, and the encoding of values as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import partial
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import (  # noqa: UP035
    Annotated,
    Any,
    ClassVar,
    Dict,
    Generic,
    List,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    Tuple,
    TypeVar,
    Union,
)
from uuid import UUID

import attrs
import numpy as np
import orjson
import pytest
from dataclasses_json import DataClassJsonMixin, LetterCase, config, dataclass_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typing_extensions import NotRequired, Required, TypeAliasType, TypedDict

from owlsocket_sync import Message, SocketMessageMalformed
from owlsocket_sync.protocol.codec import encode
from owlsocket_sync.protocol.types.adapter import TypeAdapter, compile_converter
from owlsocket_sync.protocol.types.hints import name_of, with_article
from owlsocket_sync.protocol.types.interfaces import convert
from support.helpers import examples

T = TypeVar("T")
UserId = NewType("UserId", int)
NOON = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


class Color(Enum):
    """Members with texts."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """Members with numbers."""

    LOW = 1


@dataclass
class User:
    """A plain dataclass."""

    id: int
    email: str
    color: Color = Color.RED
    tags: set[str] = field(default_factory=set)


@dataclass
class Team:
    """A dataclass with nested dataclasses."""

    users: list[User]
    lead: User | None = None
    by_name: dict[str, User] = field(default_factory=dict)


@dataclass
class Node:
    """A recursive dataclass."""

    value: int
    children: list[Node] = field(default_factory=list)


@dataclass
class Page(Generic[T]):
    """A generic dataclass."""

    items: list[T]
    first: T | None = None


@dataclass
class UserPage(Page[User]):
    """A generic dataclass with a bound parameter."""

    number: int = 0


@dataclass
class Special:
    """A dataclass with an InitVar and a computed field."""

    count: InitVar[int]
    _: KW_ONLY
    twice: float = field(init=False)
    named: str = ""

    def __post_init__(self, count: int) -> None:
        if count < 0:
            raise ValueError("too little")
        self.twice = count * 2.0


class Movie(TypedDict):
    """A TypedDict."""

    title: str
    year: NotRequired[int]


class Loose(TypedDict, total=False):
    """A TypedDict with optional keys."""

    id: Required[int]
    note: str


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: float = 0.0


@dataclass_json(letter_case=LetterCase.CAMEL)  # type: ignore[call-overload]
@dataclass
class Order:
    """A class of dataclasses-json."""

    order_id: int
    placed_at: datetime = field(
        default=NOON, metadata=config(encoder=datetime.isoformat, decoder=datetime.fromisoformat)
    )


@dataclass
class Mixed(DataClassJsonMixin):
    """A class of dataclasses-json, by inheritance, with encoders."""

    at: datetime
    color: Color = Color.BLUE


@dataclass
class Basket:
    """A plain dataclass with a nested class of dataclasses-json."""

    orders: list[Order]


@dataclass
class Cat:
    """A member of a union, distinguished by its kind."""

    kind: Literal["cat"]
    lives: int = 9


@dataclass
class Dog:
    """A member of a union, distinguished by its kind."""

    kind: Literal["dog"]


@dataclass
class Signal:
    """A dataclass with an array."""

    samples: NDArray[np.float32]


@dataclass
class Lost:
    """An annotation with an undefined name."""

    what: Nothing  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Gone:
    """An annotation with an undefined attribute of a module."""

    what: np.nothing_of_the_kind  # type: ignore[name-defined]


ADA = {"id": 1, "email": "a@b"}


@attrs.define
class Person:
    """A class of attrs with a private attribute, which its constructor names without the underscore."""

    name: str
    _age: int = 1
    friends: list[Person] = attrs.field(factory=list)
    made: bool = attrs.field(default=True, init=False)


@attrs.frozen
class Boxed:
    """One with a single attribute."""

    only: dict[str, int]


@attrs.frozen
class Labelled(Generic[T]):
    """A generic one, and an attribute with a converter."""

    value: T
    code: str = attrs.field(converter=str)


@dataclass
class _Named:
    name: str

    @classmethod
    def validated(cls, value: Any) -> Any:
        """Make one, or raise as a validator does."""
        if not isinstance(value["name"], str):
            raise ValueError("name is not text")
        return cls(value["name"])


class Model:
    """A class with the methods of a model of pydantic."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        """Validate."""
        return cls(_Named.validated(value).name)

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, Any]:
        """Return the fields."""
        return {"name": self.name, "mode": mode, "by_alias": by_alias}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.name == self.name

    def __repr__(self) -> str:
        return f"Model({self.name!r})"

    __hash__ = None  # type: ignore[assignment]


class Struct:
    """A class with the mark of those of msgspec, whose functions are in `fake_msgspec`."""

    __struct_fields__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Struct) and other.name == self.name

    def __repr__(self) -> str:
        return f"Struct({self.name!r})"

    __hash__ = None  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def fake_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for msgspec, which converts its own classes."""
    module = SimpleNamespace(
        convert=lambda value, type: type(_Named.validated(value).name), to_builtins=lambda struct: {"name": struct.name}
    )
    monkeypatch.setitem(sys.modules, "msgspec", module)


class Opaque:
    """A class whose constructor takes anything, and finds nothing wrong."""

    def __init__(self, name: Any) -> None:
        self.name = name


FITS: list[tuple[Any, Any, Any]] = [
    ({"id": 1, "email": "a", "extra": True}, User, User(1, "a")),
    ({"id": 1, "email": "a", "color": "blue", "tags": ["x", "x"]}, User, User(1, "a", Color.BLUE, {"x"})),
    (
        {"users": [ADA], "lead": ADA, "by_name": {"a": ADA}},
        Team,
        Team([User(1, "a@b")], User(1, "a@b"), {"a": User(1, "a@b")}),
    ),
    ({"users": [], "lead": None}, Team, Team([])),
    ({"value": 1, "children": [{"value": 2}]}, Node, Node(1, [Node(2)])),
    ({"items": [ADA], "first": ADA}, Page[User], Page([User(1, "a@b")], User(1, "a@b"))),
    ({"items": [5]}, Page[int], Page([5])),
    ({"items": [5, "x"]}, Page, Page([5, "x"])),
    ({"items": [ADA], "number": 2}, UserPage, UserPage([User(1, "a@b")], None, 2)),
    ({"title": "Owls", "unknown": 1}, Movie, {"title": "Owls"}),
    ({"title": "Owls", "year": 2010}, Movie, {"title": "Owls", "year": 2010}),
    ({"id": 1}, Loose, {"id": 1}),
    ([1, 2], Point, Point(1, 2.0)),
    ({"x": 1}, Point, Point(1)),
    ({"orderId": 5}, Order, Order(5)),
    ({"orders": [{"orderId": 5, "placedAt": "2024-02-29T12:00:00+00:00"}]}, Basket, Basket([Order(5)])),
    ([{"orderId": 5}], list[Order], [Order(5)]),
    (None, Optional[Order], None),  # noqa: UP045
    ({"a": {"orderId": 5}}, dict[str, Order], {"a": Order(5)}),
    ({"kind": "dog"}, Cat | Dog, Dog("dog")),
    ({"kind": "cat"}, Union[Dog, Cat, None], Cat("cat")),  # noqa: UP007
    (None, Cat | Dog | None, None),
    ("red", Color, Color.RED),
    (1, Level, Level.LOW),
    ("2024-02-29T12:00:00Z", datetime, NOON),
    ("2024-02-29T12:00:00.000Z", datetime, NOON),
    ("2024-02-29", date, date(2024, 2, 29)),
    ("12:30:00", time, time(12, 30)),
    ("00000000-0000-0000-0000-000000000001", UUID, UUID(int=1)),
    ("1.10", Decimal, Decimal("1.10")),
    (1.1, Decimal, Decimal("1.1")),
    (3, Decimal, Decimal(3)),
    ("aGk=", bytes, b"hi"),
    ("aGk=", bytearray, bytearray(b"hi")),
    (["aGk="], list[bytes], [b"hi"]),
    (5, float, 5.0),
    ([5], list[float], [5.0]),
    (5, float | int, 5),
    (5.5, float | int, 5.5),
    ("2024-02-29", date | str, date(2024, 2, 29)),
    ("2024-02-29", str | date, "2024-02-29"),
    (["2024-02-29"], list[date | str], [date(2024, 2, 29)]),
    (["2024-02-29"], list[str | date], ["2024-02-29"]),
    ("x", date | str, "x"),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([], tuple[()], ()),
    ([1, "a"], tuple, (1, "a")),
    ([1, "a"], Tuple, (1, "a")),  # noqa: UP006
    ([1, 1], set[int], {1}),
    ([1, 1], frozenset[int], frozenset({1})),
    ([1], deque[int], deque([1])),
    ([1], Sequence[int], [1]),
    ([1, "a"], List, [1, "a"]),  # noqa: UP006
    ({"a": 1}, Dict, {"a": 1}),  # noqa: UP006
    ({"a": 1}, Mapping[str, int], {"a": 1}),
    ({"a": 1}, OrderedDict[str, float], OrderedDict(a=1.0)),
    ({"1": "a"}, dict[int, str], {1: "a"}),
    ({"1.5": "a", "2": "b"}, dict[float, str], {1.5: "a", 2.0: "b"}),
    ({"true": 1}, dict[bool, int], {True: 1}),
    ({"red": 1}, dict[Color, int], {Color.RED: 1}),
    ({"1": 1}, dict[Level, int], {Level.LOW: 1}),
    ({"2024-02-29": 1}, dict[date, int], {date(2024, 2, 29): 1}),
    ("a", Literal["a", "b"], "a"),
    (None, Literal["a", None], None),
    ("red", Literal[Color.RED], Color.RED),
    (5, UserId, 5),
    (5, Annotated[int, "a number"], 5),
    ({"a": [1]}, Any, {"a": [1]}),
    ([1, None], list[Any], [1, None]),
    ("a/b", PurePosixPath, PurePosixPath("a/b")),
    ([["a/b"]], list[list[PurePosixPath]], [[PurePosixPath("a/b")]]),
    ({"name": "Ada", "age": 3, "friends": [{"name": "Bob"}]}, Person, Person("Ada", 3, [Person("Bob")])),
    ([{"only": {"a": 1}}], list[Boxed], [Boxed({"a": 1})]),
    ({"value": {"name": "Ada"}, "code": "7"}, Labelled[Person], Labelled(Person("Ada"), "7")),
    ([{"name": "Ada"}], list[Model], [Model("Ada")]),
    ({"name": "Ada"}, Model | None, Model("Ada")),
    ([{"name": "Ada"}], list[Struct], [Struct("Ada")]),
    ("5", lambda text: int(text), 5),
    ("11", partial(int, base=2), 3),
]


@pytest.mark.parametrize(("value", "target_type", "expected"), FITS, ids=lambda value: name_of(value)[:40])
def test_a_value_is_converted_to_its_type(value: Any, target_type: Any, expected: Any) -> None:
    """Down to the types of nested values, which equal values may hide."""
    made = convert(value, target_type, "it")
    assert (made, type(made)) == (expected, type(expected))
    assert repr(made) == repr(expected)


MISFITS: list[tuple[Any, Any, str]] = [
    ({"users": [ADA, ADA, ADA, {"id": 1, "email": 5}]}, Team, "Team: TypeError: users[3].email: expected str, got int"),
    ({"users": [], "lead": {"id": 1}}, Team, "Team: TypeError: lead.email: missing"),
    ({"users": [], "by_name": {"bob": {**ADA, "id": True}}}, Team, "by_name['bob'].id: expected int, got bool"),
    ({}, User, "User: TypeError: id: missing"),
    ([], User, "User: TypeError: expected an object, got list"),
    ({**ADA, "color": "green"}, User, "color: expected Color, got 'green'"),
    ({**ADA, "tags": [[]]}, User, "tags[0]: expected str, got list"),
    ({"value": 1, "children": [{"value": 2, "children": [{}]}]}, Node, "children[0].children[0].value: missing"),
    ({"items": [ADA, 5]}, Page[User], "Page[User]: TypeError: items[1]: expected an object, got int"),
    ({"items": [5]}, UserPage, "items[0]: expected an object, got int"),
    ({"year": 1}, Movie, "title: missing"),
    ({"title": "a", "year": "b"}, Movie, "year: expected int, got str"),
    ({"note": "a"}, Loose, "id: missing"),
    ([1], Point, "expected a list of 2, got a list of 1"),
    ({"count": -1}, Special, "Special: ValueError: too little"),
    ([{"count": -1}], list[Special], "list[Special]: ValueError: [0]: too little"),
    ([{"orderId": 1}, {}], list[Order], "list[Order]: KeyError: [1]: 'order_id'"),
    ([5], list[Order], "[0]: expected an object, got int"),
    ({"orders": [5]}, Basket, "orders[0]: expected an object, got int"),
    ({"kind": "cow"}, Cat | Dog, "expected Cat | Dog, got dict (Cat: kind: expected 'cat', got 'cow'; Dog: kind: "),
    ([5], list[Optional[str]], "[0]: expected str, got int"),  # noqa: UP045
    ({"lead": 5, "users": []}, Team, "lead: expected an object, got int"),
    (True, int, "expected int, got bool"),
    (True, float, "expected float, got bool"),
    (1.0, int, "expected int, got float"),
    (["5"], list[int], "[0]: expected int, got str"),
    ("5", int, "expected int, got str"),
    ("5.5", float, "expected float, got str"),
    ({"name": "Ada", "friends": [{}]}, Person, "Person: TypeError: friends[0].name: missing"),
    ({"name": "Ada", "age": "3"}, Person, "age: expected int, got str"),
    (5, Person, "expected an object, got int"),
    ({"only": 5}, Boxed, "only: expected an object, got int"),
    ([{"name": 5}], list[Model], "list[Model]: ValueError: [0]: name"),
    ({"name": 5}, Struct, "Struct: ValueError: name"),
    ({"name": "Ada"}, Opaque, "the fields of Opaque are not known: pass a function that reads an object"),
    ([[{"name": "Ada"}]], list[Opaque], "[0]: the fields of Opaque are not known: pass a function that reads a list"),
    (5, str, "expected str, got int"),
    (1, bool, "expected bool, got int"),
    (True, Level, "expected Level, got bool"),
    (True, Decimal, "expected Decimal as text, got bool"),
    ("much", Decimal, "expected Decimal as text, got 'much'"),
    (1, datetime, "expected datetime as text, got int"),
    ("soon", datetime, "ValueError: Invalid isoformat string"),
    ({"a": "soon"}, dict[str, date], "ValueError: ['a']: Invalid isoformat string"),
    ("x", UUID, "badly formed"),
    ("a", bytes, "Error: "),
    ("ä", bytes, "ValueError"),
    ([1], tuple[int, str], "expected a list of 2, got a list of 1"),
    ("ab", tuple[int, str], "expected a list, got str"),
    ({"a": 1}, dict[Color, int], "['a']: expected Color, got 'a'"),
    ([1, 2], tuple[int, str], "[1]: expected str, got int"),
    ([[1], 2], set[int], "[0]: expected int, got list"),
    ([[1]], set, "unhashable type: 'list'"),
    ({"a": 1}, list[int], "expected a list, got dict"),
    ([], dict[str, int], "expected an object, got list"),
    ({"a": 1}, dict[int, int], "['a']: expected int, got str"),
    ({"yes": 1}, dict[bool, int], "['yes']: expected bool, got str"),
    (True, Literal[1, "a"], "expected 1 or 'a', got True"),
    ("x" * 500, Literal["a"], "…"),
    (5, type(None), "expected null, got int"),
    ([5], list[None], "[0]: expected null, got int"),
    ({}, Signal, "samples: missing"),
    ({"samples": 5}, Signal, "samples: expected a list, got int"),
    (5, 5, "is not a 5: TypeError: 5 is neither a type nor a callable"),
    (5, Lost, "the annotations of Lost cannot be resolved: name 'Nothing' is not defined"),
]


@pytest.mark.parametrize(
    "words",
    [
        *("an int", "a str", "a list[int]", "an Order", "an Optional[str]", "a User", "a UUID", "a Unit", "a Usage"),
        *("an Update", "an Unknown", "an Uninstall", "an Event", "a European", "a Cat | Dog", "a <lambda>"),
    ],
)
def test_a_type_has_the_article_that_is_spoken(words: str) -> None:
    """The sound decides, not the letter."""
    assert with_article(words.partition(" ")[2]) == words
    assert with_article(name_of(type(None))) == "null"


@pytest.mark.parametrize(("value", "target_type", "words"), MISFITS, ids=lambda value: name_of(value)[:40])
def test_a_mismatch_names_its_place(value: Any, target_type: Any, words: str) -> None:
    """The error has the path, the expected type and the received value."""
    with pytest.raises(SocketMessageMalformed) as refused:
        convert(value, target_type, "it")
    assert str(refused.value).startswith(f"it is not {with_article(name_of(target_type))}: ")
    assert words in str(refused.value)
    assert refused.value.__cause__ is not None


@pytest.mark.parametrize(
    "target_type",
    [
        5,
        "User",
        Lost,
        Gone,
        timedelta,
        type,
        ClassVar[int],
        list["User"],
        Iterator[int],
        Callable[[], int],
        list[Iterator[int]],
        type[User],
    ],
)
def test_an_unconvertible_type_is_refused_before_any_value(target_type: Any) -> None:
    """It is a mistake in the program, not in the peer's message."""
    with pytest.raises(TypeError):
        TypeAdapter(target_type)


def test_a_type_is_compiled_once() -> None:
    """Further conversions use the same function."""
    assert compile_converter(Team) is compile_converter(Team)
    assert compile_converter(list[User]) is compile_converter(list[User])


def test_fields_are_the_parameters_of_the_constructor() -> None:
    """An InitVar is required, a field with init=False is ignored."""
    assert convert({"count": 2, "twice": "?", "named": "n"}, Special, "it").twice == 4.0


def test_a_custom_constructor_receives_its_named_parameters() -> None:
    """Its **keywords receive nothing."""

    @dataclass(init=False)
    class Own:
        number: int

        def __init__(self, number: int, *rest: int, **more: int) -> None:
            self.number = number + len(rest) + len(more)

    assert convert({"number": 1, "rest": 2, "more": 3}, Own, "it").number == 1


def test_a_type_alias_may_be_recursive() -> None:
    """Such as one of the ``type`` statement, whose value is evaluated lazily."""

    class TypeAliasType:
        @property
        def __value__(self) -> Any:
            return dict[str, self] | int  # type: ignore[valid-type]

    tree = TypeAliasType()
    assert convert({"a": {"b": 1}}, tree, "it") == {"a": {"b": 1}}
    with pytest.raises(SocketMessageMalformed, match=r"\['a'\]: expected dict"):
        convert({"a": "b"}, tree, "it")


def test_a_type_alias_may_be_generic() -> None:
    """Such as ``NDArray``, which newer versions of NumPy define by the ``type`` statement."""
    item = TypeVar("item")
    many = TypeAliasType("many", dict[str, list[item]], type_params=(item,))
    assert convert({"a": [1]}, many[int], "it") == {"a": [1]}
    with pytest.raises(SocketMessageMalformed, match=r"\['a'\]\[0\]: expected int"):
        convert({"a": ["b"]}, many[int], "it")


def test_a_recursive_value_that_is_too_deep_is_malformed() -> None:
    """The recursion error does not escape."""
    deep: dict[str, Any] = {"value": 1}
    for _ in range(1000):
        deep = {"value": 1, "children": [deep]}
    with pytest.raises(SocketMessageMalformed, match="RecursionError"):
        convert(deep, Node, "it")


@dataclass
class Add:
    """One of two shapes with the same keys, each of which may contain either."""

    left: Add | Multiply | Leaf | None
    kind: Literal["add"]


@dataclass
class Multiply:
    """The other shape."""

    left: Add | Multiply | Leaf | None
    kind: Literal["multiply"]


@dataclass
class Leaf:
    """The end of the nesting, which counts its attempts."""

    attempts: ClassVar[int] = 0

    leaf: int

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Leaf:
        """Count, and convert."""
        cls.attempts += 1
        return cls(value["leaf"])


@pytest.mark.parametrize("leaf", [{"leaf": 1}, {"none": 1}], ids=["fits", "fails"])
@pytest.mark.parametrize("kind", ["add", "multiply", "none"])
def test_a_recursive_union_costs_no_more_than_its_value_is_deep(leaf: dict[str, Any], kind: str) -> None:
    """Each nested value is converted once by each union that contains it, however many members lead there."""
    Leaf.attempts = 0
    value: Any = leaf
    for _ in range(60):
        value = {"left": value, "kind": kind}
    if kind == "none" or "none" in leaf:
        with pytest.raises(SocketMessageMalformed):
            convert([value], list[Add | Multiply], "it")
    else:
        converted = convert([value], list[Add | Multiply], "it")[0]
        assert encode(Message(payload=converted)) == encode(Message(payload=value))
    assert 1 <= Leaf.attempts <= 2 * 62


def test_classes_of_the_same_name_are_distinguished() -> None:
    """In one union."""
    first, second = make_dataclass("Same", [("a", int)]), make_dataclass("Same", [("b", int)])
    both: Any = first | second
    assert convert({"a": 1}, both, "it") == first(1)
    assert convert({"b": 1}, both, "it") == second(1)


@pytest.mark.parametrize(
    ("value", "target_type"), [("x" * 10_000, int), (["x" * 10_000], list[date]), ("x" * 10_000, Color)]
)
def test_an_error_repeats_the_beginning_of_a_value_only(value: Any, target_type: Any) -> None:
    """Neither a log nor an answer grows with the message of a peer."""
    with pytest.raises(SocketMessageMalformed) as refused:
        convert(value, target_type, "it")
    assert len(str(refused.value)) < 400


def test_an_unhashable_callable_is_called() -> None:
    """The cache of compiled types cannot hold it."""

    class Reader:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, value: Any) -> Any:
            return [value]

    assert convert(5, Reader(), "it") == [5]


# -- writing ---------------------------------------------------------------------------------------------------------


def written(payload: Any) -> Any:
    """Return a payload as the peer parses it."""
    return orjson.loads(encode(Message(payload=payload)))["payload"]


WRITTEN: list[tuple[Any, Any]] = [
    (
        Person("Ada", 3, [Person("Bob")]),
        json.loads("""{"name": "Ada", "age": 3, "made": true,
        "friends": [{"name": "Bob", "age": 1, "made": true, "friends": []}]}"""),
    ),
    ([Model("Ada")], [{"name": "Ada", "mode": "json", "by_alias": True}]),
    ([Struct("Ada")], [{"name": "Ada"}]),
    (User(1, "a", Color.BLUE, {"x"}), {"id": 1, "email": "a", "color": "blue", "tags": ["x"]}),
    (Order(5), {"orderId": 5, "placedAt": "2024-02-29T12:00:00+00:00"}),
    (Basket([Order(5)]), {"orders": [{"orderId": 5, "placedAt": "2024-02-29T12:00:00+00:00"}]}),
    (Mixed(NOON), {"at": NOON.timestamp(), "color": "blue"}),
    ([Color.RED, Level.LOW], ["red", 1]),
    ([NOON, date(2024, 2, 29), time(1, 2)], ["2024-02-29T12:00:00+00:00", "2024-02-29", "01:02:00"]),
    ([time(0, microsecond=10_000), time(1, tzinfo=timezone.utc)], ["00:00:00.010000", "01:00:00+00:00"]),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.10"), "1.10"),
    ([b"hi", bytearray(b"hi"), memoryview(b"hi")], ["aGk="] * 3),
    ([{1}, frozenset({1}), (1,), deque([1]), Point(1)], [[1], [1], [1], [1], [1, 0.0]]),
    ({Color.RED: 1, Level.LOW: 2, UUID(int=1): 3}, {"red": 1, "1": 2, "00000000-0000-0000-0000-000000000001": 3}),
    (np.arange(6).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
    (np.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
    ([np.float64(1.5), np.int8(3), np.bool_(True), np.float32(0.5)], [1.5, 3, True, 0.5]),
    (np.array(["a", "b"]), ["a", "b"]),
    (np.array([User(1, "a"), None], dtype=object), [{"id": 1, "email": "a", "color": "red", "tags": []}, None]),
    ({"deep": [Signal(np.array([1, 2], np.float32))]}, {"deep": [{"samples": [1.0, 2.0]}]}),
]


@pytest.mark.parametrize(("value", "expected"), WRITTEN, ids=lambda value: type(value).__name__)
def test_values_are_encoded_as_json(value: Any, expected: Any) -> None:
    """Also next to a lone surrogate and under keys that are not strings, which take another encoder."""
    assert written(value) == expected
    assert written({1: value}) == {"1": expected}
    if not isinstance(value, dict) or all(isinstance(key, str) for key in value):
        half = encode(Message(payload=["\ud800", value])).replace(b"\\ud800", b"")
        assert orjson.loads(half)["payload"] == ["", expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (np.datetime64("NaT", "s"), None),
        (np.array(["NaT", "2020-01-01"], "datetime64[ns]"), [None, "2020-01-01T00:00:00"]),
        (np.array([["NaT"]], "datetime64[s]"), [[None]]),
        (np.array([1, np.nan]), [1, None]),
        (np.ma.masked_array([1, 2], mask=[False, True]), [1, None]),
        (np.array([None, 2**70, np.nan], object), [None, 2**70, None]),
    ],
    ids=repr,
)
def test_every_kind_of_a_missing_value_is_null(value: Any, expected: Any) -> None:
    """None of them is sent as text, nor as some date."""
    assert json.loads(encode(Message(payload=value)))["payload"] == expected
    assert json.loads(encode(Message(payload={1: [value]})))["payload"] == {"1": [expected]}


def test_the_missing_values_of_pandas_are_null() -> None:
    """Both of them."""
    pandas = pytest.importorskip("pandas")
    payload = [pandas.NaT, pandas.NA, pandas.Timestamp("2020-01-01"), np.array([pandas.NaT, pandas.NA], object)]
    assert written(payload) == [None, None, "2020-01-01T00:00:00", [None, None]]


@pytest.mark.parametrize("value", [np.array([1j]), timedelta(1), [object()], User])
def test_a_value_without_a_json_form_is_refused(value: Any) -> None:
    """The error names its type."""
    with pytest.raises(SocketMessageMalformed, match="cannot be sent as JSON"):
        written(value)


def test_arrays_are_converted_back() -> None:
    """To the dtype of the annotation."""
    made = convert(written(Signal(np.array([1, 2.5], np.float32))), Signal, "it")
    assert made.samples.dtype == np.float32
    assert made.samples.tolist() == [1.0, 2.5]
    assert convert([[1, 2]], np.ndarray, "it").shape == (1, 2)
    assert convert([1], np.asarray, "it").tolist() == [1]
    assert convert([[1.5]], NDArray[Any], "it").tolist() == [[1.5]]


def test_plain_payloads_import_no_conversion() -> None:
    """Neither NumPy, decimal, dataclasses-json nor the adapter, not even for a value that cannot be sent."""
    script = """
import sys
from owlsocket_sync import Connection, Message, SocketMessageMalformed
from owlsocket_sync.protocol.codec import encode
encode(Message(payload=[1, {"a": (1, {2})}]))
try:
    encode(Message(payload=object()))
except SocketMessageMalformed:
    print(*sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    names = set(ran.stdout.split())
    assert "orjson" in names
    assert not names & {"numpy", "decimal", "dataclasses_json", "owlsocket_sync.protocol.types.adapter"}


@dataclass
class Everything:
    """A field of each type that is converted in both directions."""

    flag: bool
    number: int
    text: str
    color: Color
    at: datetime
    day: date
    hour: time
    id: UUID
    amount: Decimal
    raw: bytes
    levels: dict[Level, tuple[int, str]]
    days: dict[date, frozenset[Color]]
    maybe: Everything | None = None
    either: list[int | str | None] = field(default_factory=list)


SCALARS = {
    "flag": st.booleans(),
    "number": st.integers(-(2**63), 2**63 - 1),
    "text": st.text(st.characters(exclude_categories=["Cs"])),
    "color": st.sampled_from(Color),
    "at": st.datetimes(timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=-5))])),
    "day": st.dates(),
    "hour": st.times(),
    "id": st.uuids(),
    "amount": st.decimals(allow_nan=False),
    "raw": st.binary(),
    "levels": st.dictionaries(st.sampled_from(Level), st.tuples(st.integers(0, 9), st.text("ab"))),
    "days": st.dictionaries(st.dates(), st.frozensets(st.sampled_from(Color))),
    "either": st.lists(st.integers(0, 9) | st.text("ab") | st.none()),
}


@pytest.mark.slow
@settings(max_examples=examples(50, 200), suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(st.builds(Everything, **SCALARS), lambda inner: st.builds(Everything, **SCALARS, maybe=inner)))
def test_encoding_and_converting_are_inverse(value: Everything) -> None:
    """For every supported type, at every depth."""
    assert convert(written(value), Everything, "it") == value
