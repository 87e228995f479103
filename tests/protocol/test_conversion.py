"""What JSON is made when a type is asked for, and what is said when it cannot be; and the way back."""

from __future__ import annotations

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
from owlsocket_sync.protocol.conversion import Converter, compiled, name_of
from owlsocket_sync.protocol.typed import convert

T = TypeVar("T")
UserId = NewType("UserId", int)
NOON = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


class Color(Enum):
    """By text."""

    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    """By number."""

    LOW = 1


@dataclass
class User:
    """A plain one."""

    id: int
    email: str
    color: Color = Color.RED
    tags: set[str] = field(default_factory=set)


@dataclass
class Team:
    """One that holds others."""

    users: list[User]
    lead: User | None = None
    by_name: dict[str, User] = field(default_factory=dict)


@dataclass
class Node:
    """One that holds itself."""

    value: int
    children: list[Node] = field(default_factory=list)


@dataclass
class Page(Generic[T]):
    """One of anything."""

    items: list[T]
    first: T | None = None


@dataclass
class UserPage(Page[User]):
    """One of something."""

    number: int = 0


@dataclass
class Special:
    """With what only dataclasses have."""

    given: InitVar[int]
    _: KW_ONLY
    twice: float = field(init=False)
    named: str = ""

    def __post_init__(self, given: int) -> None:
        if given < 0:
            raise ValueError("too little")
        self.twice = given * 2.0


class Movie(TypedDict):
    """Keys with types."""

    title: str
    year: NotRequired[int]


class Loose(TypedDict, total=False):
    """Hardly any."""

    id: Required[int]
    note: str


class Point(NamedTuple):
    """By place, or by name."""

    x: int
    y: float = 0.0


@dataclass_json(letter_case=LetterCase.CAMEL)  # type: ignore[call-overload]
@dataclass
class Order:
    """One of dataclasses-json."""

    order_id: int
    placed_at: datetime = field(
        default=NOON, metadata=config(encoder=datetime.isoformat, decoder=datetime.fromisoformat)
    )


@dataclass
class Mixed(DataClassJsonMixin):
    """One of dataclasses-json, by inheritance, that is written by its encoders."""

    at: datetime
    color: Color = Color.BLUE


@dataclass
class Basket:
    """A plain one that holds one of dataclasses-json."""

    orders: list[Order]


@dataclass
class Cat:
    """Told by its kind."""

    kind: Literal["cat"]
    lives: int = 9


@dataclass
class Dog:
    """Told by its kind."""

    kind: Literal["dog"]


@dataclass
class Signal:
    """With an array."""

    samples: NDArray[np.float32]


@dataclass
class Lost:
    """With an annotation that names nothing."""

    what: Nothing  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Gone:
    """With an annotation that names what a module has not."""

    what: np.nothing_of_the_kind  # type: ignore[name-defined]


ADA = {"id": 1, "email": "a@b"}

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
    ("5", int, 5),
    ("5.5", float, 5.5),
    ("11", partial(int, base=2), 3),
]


@pytest.mark.parametrize(("value", "wanted", "expected"), FITS, ids=lambda one: name_of(one)[:40])
def test_what_fits_is_made_what_was_asked_for(value: Any, wanted: Any, expected: Any) -> None:
    """Down to the types, which equal values may hide."""
    made = convert(value, wanted, "it")
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
    ([1], Point, "expected a list of 2, got one of 1"),
    ({"given": -1}, Special, "Special: ValueError: too little"),
    ([{"given": -1}], list[Special], "list[Special]: ValueError: [0]: too little"),
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
    ([1], tuple[int, str], "expected a list of 2, got one of 1"),
    ("ab", tuple[int, str], "expected a list, got str"),
    ({"a": 1}, dict[Color, int], "['a']: expected Color, got 'a'"),
    ([1, 2], tuple[int, str], "[1]: expected str, got int"),
    ([[1], 2], set[int], "[0]: expected int, got list"),
    ([[1]], set, "TypeError: unhashable"),
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
    (5, 5, "is no 5: TypeError: 5 is neither a type nor a callable"),
    (5, Lost, "the annotations of Lost cannot be read: name 'Nothing' is not defined"),
]


@pytest.mark.parametrize(("value", "wanted", "words"), MISFITS, ids=lambda one: name_of(one)[:40])
def test_what_does_not_fit_says_where(value: Any, wanted: Any, words: str) -> None:
    """And what was expected there, and what came."""
    with pytest.raises(SocketMessageMalformed) as refused:
        convert(value, wanted, "it")
    assert str(refused.value).startswith(f"socket:message:malformed:it is no {name_of(wanted)}: ")
    assert words in str(refused.value)
    assert refused.value.__cause__ is not None


@pytest.mark.parametrize(
    "wanted",
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
def test_what_nothing_can_be_made_of_is_known_before_anything_comes(wanted: Any) -> None:
    """It is the program's fault, not the peer's."""
    with pytest.raises(TypeError):
        Converter(wanted)


def test_a_type_is_looked_at_once() -> None:
    """What remains is a function."""
    assert compiled(Team) is compiled(Team)
    assert compiled(list[User]) is compiled(list[User])


def test_init_only_and_computed_fields_are_those_of_the_constructor() -> None:
    """A field that is computed is not asked for."""
    assert convert({"given": 2, "twice": "?", "named": "n"}, Special, "it").twice == 4.0


def test_a_constructor_of_ones_own_is_called_by_the_names_it_has() -> None:
    """What it takes besides is not known."""

    @dataclass(init=False)
    class Own:
        number: int

        def __init__(self, number: int, *rest: int, **more: int) -> None:
            self.number = number + len(rest) + len(more)

    assert convert({"number": 1, "rest": 2, "more": 3}, Own, "it").number == 1


def test_an_alias_may_hold_itself() -> None:
    """As those of the ``type`` statement do, which read what they stand for when they are asked."""

    class TypeAliasType:
        @property
        def __value__(self) -> Any:
            return dict[str, self] | int  # type: ignore[valid-type]

    tree = TypeAliasType()
    assert convert({"a": {"b": 1}}, tree, "it") == {"a": {"b": 1}}
    with pytest.raises(SocketMessageMalformed, match=r"\['a'\]: expected dict"):
        convert({"a": "b"}, tree, "it")


def test_an_alias_may_have_parameters() -> None:
    """As ``NDArray`` has, which newer NumPy writes by the ``type`` statement."""
    item = TypeVar("item")
    many = TypeAliasType("many", dict[str, list[item]], type_params=(item,))
    assert convert({"a": [1]}, many[int], "it") == {"a": [1]}
    with pytest.raises(SocketMessageMalformed, match=r"\['a'\]\[0\]: expected int"):
        convert({"a": ["b"]}, many[int], "it")


def test_what_holds_itself_too_deep_is_malformed() -> None:
    """And ends nothing else."""
    deep: dict[str, Any] = {"value": 1}
    for _ in range(1000):
        deep = {"value": 1, "children": [deep]}
    with pytest.raises(SocketMessageMalformed, match="RecursionError"):
        convert(deep, Node, "it")


def test_classes_of_the_same_name_are_told_apart() -> None:
    """In one union."""
    first, second = make_dataclass("Same", [("a", int)]), make_dataclass("Same", [("b", int)])
    both: Any = first | second
    assert convert({"a": 1}, both, "it") == first(1)
    assert convert({"b": 1}, both, "it") == second(1)


@pytest.mark.parametrize(
    ("value", "wanted"), [("x" * 10_000, int), (["x" * 10_000], list[date]), ("x" * 10_000, Color)]
)
def test_what_a_peer_sent_is_not_repeated_at_length(value: Any, wanted: Any) -> None:
    """Neither in an answer nor in a log."""
    with pytest.raises(SocketMessageMalformed) as refused:
        convert(value, wanted, "it")
    assert len(str(refused.value)) < 400


def test_a_callable_that_cannot_be_hashed_is_called() -> None:
    """Like any other."""

    class Reader:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, value: Any) -> Any:
            return [value]

    assert convert(5, Reader(), "it") == [5]


# -- writing ---------------------------------------------------------------------------------------------------------


def written(payload: Any) -> Any:
    """A payload, as the peer reads it."""
    return orjson.loads(encode(Message(payload=payload)))["payload"]


WRITTEN: list[tuple[Any, Any]] = [
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


@pytest.mark.parametrize(("value", "expected"), WRITTEN, ids=lambda one: type(one).__name__)
def test_values_are_written_as_json_has_them(value: Any, expected: Any) -> None:
    """Also beside half a character, which takes another writer, and under keys that are no text."""
    assert written(value) == expected
    assert written({1: value}) == {"1": expected}
    if not isinstance(value, dict) or all(isinstance(key, str) for key in value):
        half = encode(Message(payload=["\ud800", value])).replace(b"\\ud800", b"")
        assert orjson.loads(half)["payload"] == ["", expected]


@pytest.mark.parametrize("value", [np.array([1j]), timedelta(1), [object()], User])
def test_what_json_has_no_words_for_is_refused(value: Any) -> None:
    """With what it is."""
    with pytest.raises(SocketMessageMalformed, match="cannot be sent as JSON"):
        written(value)


def test_arrays_come_back() -> None:
    """Of the type that the annotation has."""
    made = convert(written(Signal(np.array([1, 2.5], np.float32))), Signal, "it")
    assert made.samples.dtype == np.float32
    assert made.samples.tolist() == [1.0, 2.5]
    assert convert([[1, 2]], np.ndarray, "it").shape == (1, 2)
    assert convert([1], np.asarray, "it").tolist() == [1]
    assert convert([[1.5]], NDArray[Any], "it").tolist() == [[1.5]]


def test_nothing_is_imported_for_those_who_do_without() -> None:
    """Not NumPy, decimals, dataclasses-json or what converts, by plain payloads and by what cannot be sent."""
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
    assert not names & {"numpy", "decimal", "dataclasses_json", "owlsocket_sync.protocol.conversion"}


@dataclass
class Everything:
    """Something of everything that goes both ways."""

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


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(st.builds(Everything, **SCALARS), lambda inner: st.builds(Everything, **SCALARS, maybe=inner)))
def test_what_was_written_is_read_as_what_it_was(value: Everything) -> None:
    """Everything, at every depth."""
    assert convert(written(value), Everything, "it") == value
