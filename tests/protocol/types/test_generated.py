"""Generated converters: for every value they do what the exact converters do, and run the code of users as often."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import KW_ONLY, InitVar, dataclass, field, make_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, EnumMeta, Flag, IntEnum
from functools import wraps
from types import GenericAlias
from typing import Any, Generic, Literal, NamedTuple, Optional, TypedDict, TypeVar, Union, get_origin
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from typing_extensions import NotRequired

from owlsocket_sync import SocketTimeout
from owlsocket_sync.protocol.types import compiler
from owlsocket_sync.protocol.types.adapter import compile_converter
from owlsocket_sync.protocol.types.compiler import Compiler
from owlsocket_sync.protocol.types.converters import ConversionError, via_from_dict
from owlsocket_sync.protocol.types.hints import name_of
from support.helpers import examples, scaled
from support.spoiled import JUNK, spoiled

T = TypeVar("T")


class Color(Enum):
    """Members with texts, one of them with two names."""

    RED = "red"
    BLUE = "blue"
    CRIMSON = "red"  # noqa: PIE796


class Level(IntEnum):
    """Members with integers, of which two are equal to flags."""

    OFF = 0
    ON = 1
    HIGH = 2


class Mixed(Enum):
    """Members with values of several types."""

    ONE = 1
    TEXT = "text"
    NOTHING = None


class Rights(Flag):
    """Members that are added up."""

    READ = 1
    WRITE = 2


class Forgiving(Enum):
    """One that finds a member for any text."""

    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Forgiving | None:
        return cls.A if isinstance(value, str) else None


@dataclass
class Address:
    """A nested dataclass."""

    street: str
    zip: str = "0"


@dataclass
class Scalars:
    """A field of each scalar type."""

    flag: bool
    number: int
    ratio: float
    text: str
    nothing: None
    anything: Any
    color: Color
    level: Level
    at: datetime
    day: date
    hour: time
    id: UUID
    amount: Decimal
    raw: bytes
    word: Literal["a", "b"]
    mixed_word: Literal["a", 1, True, None]


@dataclass
class Containers:
    """A field of each kind of container."""

    texts: list[str]
    numbers: list[int]
    ratios: list[float]
    flags: set[bool]
    anything: list[Any]
    addresses: list[Address]
    pairs: tuple[int, str]
    many: tuple[int, ...]
    counts: dict[str, int]
    loose: dict[str, Any]
    by_level: dict[Level, Address]
    nested: list[list[int]]
    plain: list  # type: ignore[type-arg]
    table: dict  # type: ignore[type-arg]


@dataclass
class Choices:
    """Optional values, and unions."""

    note: Optional[str]  # noqa: UP045
    address: Address | None
    at: datetime | None = None
    either: int | str = 5
    deep: Union[Address, list[Address], None] = None  # noqa: UP007
    wrong: str = None  # type: ignore[assignment]
    tags: list[str] | None = field(default_factory=lambda: ["new"])


@dataclass
class Node:
    """A recursive dataclass, by annotations that name what comes later."""

    value: int
    children: list[Node] = field(default_factory=list)
    next: Later | None = None


@dataclass
class Later:
    """What the other one names."""

    node: Node


@dataclass
class Page(Generic[T]):
    """A generic dataclass."""

    items: list[T]
    first: T | None = None


@dataclass
class AddressPage(Page[Address]):
    """A subclass that binds the parameter, and adds a field."""

    number: int = 0


@dataclass(slots=True)
class Slotted:
    """A dataclass with slots."""

    x: int
    y: str = "y"


@dataclass(frozen=True)
class Frozen:
    """One whose fields cannot be set."""

    x: int
    y: str = "y"


@dataclass(kw_only=True)
class Keyword:
    """One whose parameters have to be named."""

    x: int
    y: str = "y"


@dataclass
class SomeKeyword:
    """One with both kinds of parameters, a field that is no parameter, and a parameter that is no field."""

    first: int
    seed: InitVar[int]
    _: KW_ONLY
    made: int = field(init=False, default=7)
    second: str = "2"
    factory: list[int] = field(default_factory=list)

    def __post_init__(self, seed: int) -> None:
        self.seeds = [seed]


class Undecorated(Slotted):
    """A subclass that is no dataclass of its own."""


@dataclass(init=False)
class OwnInit:
    """A constructor that is written by hand, with a default that its calls share."""

    number: int

    def __init__(self, number: int = 3, *rest: int, shared: list[int] = [], **more: int) -> None:  # noqa: B006
        self.number = number
        self.shared = shared


class Movie(TypedDict):
    """A TypedDict."""

    title: str
    year: NotRequired[int]
    address: NotRequired[Address]
    rating: float


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: float = 0.5


@attrs.define
class Person:
    """A class of attrs."""

    name: str
    _age: int = 1
    friends: list[Person] = attrs.field(factory=list)
    made: bool = attrs.field(default=True, init=False)
    code: str = attrs.field(converter=str, default="c")


def checked(value: Any) -> Any:
    """Convert by a function of the user."""
    if value == "timeout":
        raise SocketTimeout("mine")
    return int(value)


@dataclass
class WithFunction:
    """A field that a function converts."""

    number: checked  # type: ignore[valid-type]
    after: str


SCALARS = {
    "flag": True,
    "number": 1,
    "ratio": 1.5,
    "text": "t",
    "nothing": None,
    "anything": {"a": [1]},
    "color": "red",
    "level": 1,
    "at": "2024-02-29T12:00:00Z",
    "day": "2024-02-29",
    "hour": "12:30:00",
    "id": "00000000-0000-0000-0000-000000000001",
    "amount": "1.10",
    "raw": "aGk=",
    "word": "a",
    "mixed_word": 1,
}
ADDRESS = {"street": "s", "zip": "z"}
CONTAINERS = {
    "texts": ["a"],
    "numbers": [1, 2],
    "ratios": [1, 2.5],
    "flags": [True, False],
    "anything": [1, None],
    "addresses": [ADDRESS, {"street": "t"}],
    "pairs": [1, "a"],
    "many": [1, 2],
    "counts": {"a": 1},
    "loose": {"a": None},
    "by_level": {"1": ADDRESS},
    "nested": [[1], []],
    "plain": [1, "a"],
    "table": {"a": 1},
}
CHOICES = {
    "note": "n",
    "address": ADDRESS,
    "at": "2024-02-29",
    "either": "e",
    "deep": [ADDRESS],
    "wrong": "w",
    "tags": ["t"],
}
NODE = {"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}], "next": {"node": {"value": 4}}}
PERSON = {"name": "Ada", "age": 3, "friends": [{"name": "Bob"}], "code": 5}
VALID: list[tuple[Any, Any]] = [
    (Scalars, SCALARS),
    (Containers, CONTAINERS),
    (Choices, CHOICES),
    (Node, NODE),
    (list[Node], [NODE]),
    (Page[int], {"items": [1], "first": 2}),
    (Page[Address], {"items": [ADDRESS], "first": ADDRESS}),
    (AddressPage, {"items": [ADDRESS], "first": ADDRESS, "number": 5}),
    (Slotted, {"x": 1, "y": "z"}),
    (Frozen, {"x": 1, "y": "z"}),
    (Keyword, {"x": 1, "y": "z"}),
    (SomeKeyword, {"first": 1, "seed": 2, "second": "s", "factory": [1], "made": 5}),
    (Undecorated, {"x": 1, "y": "z"}),
    (OwnInit, {"number": 1, "shared": [1]}),
    (Movie, {"title": "t", "year": 1, "address": ADDRESS, "rating": 5}),
    (Point, {"x": 1, "y": 2}),
    (Person, PERSON),
    (WithFunction, {"number": "5", "after": "a"}),
    (dict[str, Slotted], {"a": {"x": 1}}),
    (Slotted | Frozen | list[Keyword], [{"x": 1}]),
]
# Python 3.10 takes list[int] for a type, too.
GENERATED = [cls for cls, _ in VALID if isinstance(cls, type) and not get_origin(cls) and cls not in (Point, OwnInit)]


def outcome(convert: Callable[[Any], Any], value: Any) -> Any:
    """Return everything that can be seen of a conversion: the value with all types, or the error with its place."""
    try:
        made = convert(copy.deepcopy(value))
    except ConversionError as error:
        cause = error.__cause__ or error.__context__
        return type(error), str(error), error.place, error.kind, repr(cause)
    except Exception as error:
        return type(error), str(error)
    return type(made), repr(made), repr(getattr(made, "__dict__", None))


def compile_exactly(target_type: Any) -> Callable[[Any], Any]:
    """Return the exact converter of a type."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "object_converter", lambda fields, required, constructor, exact: exact)
        patch.setattr(compiler, "from_dict_converter", via_from_dict)
        return Compiler().compile(target_type)


@pytest.mark.slow
@pytest.mark.parametrize(("target_type", "valid"), VALID, ids=lambda value: name_of(value)[:30])
def test_a_generated_converter_does_what_the_exact_one_does(target_type: Any, valid: Any) -> None:
    """The same instance, or the same error at the same place, for values that fit and for all others."""
    generated, exact = Compiler().compile(target_type), compile_exactly(target_type)
    assert not isinstance(outcome(exact, valid)[0], type) or not issubclass(outcome(exact, valid)[0], Exception)

    @settings(max_examples=examples(60, 600), database=None)
    @given(spoiled(valid))
    def compare(value: Any) -> None:
        assert outcome(generated, value) == outcome(exact, value)

    compare()


@pytest.mark.parametrize("cls", GENERATED, ids=name_of)
def test_classes_with_fields_have_a_generated_converter(cls: Any) -> None:
    """The property above compares two converters, and not one with itself."""
    assert Compiler().compile(cls).__code__.co_filename == "<generated converter>"
    assert compile_exactly(cls).__code__.co_filename != "<generated converter>"


def test_a_constructor_with_parameters_that_no_field_sets_gets_the_fields_by_name() -> None:
    """Positions would be those of other parameters."""
    assert Compiler().compile(OwnInit).__code__.co_filename != "<generated converter>"
    assert Compiler().compile(OwnInit)({"number": 1}).number == 1


class TurnedRound(type):
    """A metaclass with a call of its own."""

    def __call__(cls, y: int = 2, x: int = 0) -> Any:
        """Take the fields in another order."""
        return super().__call__(x, y)


@dataclass
class CalledByName(metaclass=TurnedRound):
    """A class with that metaclass."""

    x: int = 0
    y: int = 2


@dataclass
class MadeTwice:
    """A class with a ``__new__`` beside the constructor."""

    x: int = 0
    y: int = 2

    def __new__(cls, y: int = 2, x: int = 0) -> MadeTwice:
        """Take the fields in another order."""
        made = super().__new__(cls)
        vars(made)["seen"] = (x, y)
        return made


@dataclass
class Wrapped:
    """A class whose constructor a decorator wraps."""

    x: int
    y: int = 2


def _by_name(init: Any) -> Any:
    @wraps(init)
    def wrapper(self: Any, **fields: Any) -> None:
        init(self, **fields)

    return wrapper


Wrapped.__init__ = _by_name(Wrapped.__init__)  # type: ignore[method-assign]


@pytest.mark.parametrize("cls", [CalledByName, MadeTwice, Wrapped], ids=name_of)
def test_a_class_that_is_made_in_another_way_gets_its_fields_by_name(cls: Any) -> None:
    """As documented; a missing one is not passed."""
    convert = Compiler().compile(cls)
    assert convert.__code__.co_filename != "<generated converter>"
    assert outcome(convert, {"x": 1, "y": 3}) == outcome(lambda value: cls(x=1, y=3), {})
    assert outcome(convert, {"x": 1}) == outcome(lambda value: cls(x=1), {})
    assert convert({"x": 1, "y": 3}).y == 3


@pytest.mark.parametrize(("target_type", "valid"), VALID, ids=lambda value: name_of(value)[:30])
def test_only_what_a_parser_makes_is_an_object(target_type: Any, valid: Any) -> None:
    """A value of another class may have methods of its own."""
    if isinstance(valid, dict):
        expected = outcome(compile_exactly(target_type), OrderedDict(valid))
        assert outcome(Compiler().compile(target_type), OrderedDict(valid)) == expected
        assert "got OrderedDict" in expected[1]


class Swapping(EnumMeta):
    """A metaclass that finds members in its own way."""

    def __call__(cls, value: Any, *arguments: Any, **keywords: Any) -> Any:
        """Find the other one."""
        return super().__call__({"a": "b", "b": "a"}.get(value, value), *arguments, **keywords)


class Swapped(Enum, metaclass=Swapping):
    """An enum with that metaclass."""

    A = "a"
    B = "b"


def test_an_enum_with_a_call_of_its_own_is_called() -> None:
    """A table of its members would find another one."""
    holder = make_dataclass("Holder", [("member", Swapped)])
    assert Compiler().compile(holder)({"member": "a"}).member is Swapped.B


@pytest.mark.parametrize("cls", [Mixed, Rights, Forgiving, Color, Level], ids=name_of)
@pytest.mark.parametrize("value", [*JUNK, 3, 4, "blue", "text", "unknown"], ids=repr)
def test_an_enum_finds_its_members_itself_where_a_table_cannot(cls: type[Enum], value: Any) -> None:
    """Combined flags, members of several types, and those that the class makes up."""
    holder = make_dataclass("Holder", [("member", cls)])
    assert outcome(Compiler().compile(holder), {"member": value}) == outcome(compile_exactly(holder), {"member": value})


# -- code of users ---------------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """A class that counts its instances."""

    made = 0
    x: int

    def __post_init__(self) -> None:
        type(self).made += 1
        if self.x < 0:
            raise ValueError("negative")


@dataclass
class Holder:
    """A class with counted fields, and fields around them that may not fit."""

    before: str
    first: Counted
    between: int
    second: Counted
    after: str
    many: list[Counted] = field(default_factory=list)


HOLDER = {
    "before": "b",
    "first": {"x": 1},
    "between": 2,
    "second": {"x": 3},
    "after": "a",
    "many": [{"x": 5}, {"x": 6}],
}


@settings(max_examples=examples(100, 2000))
@given(spoiled(HOLDER))
def test_code_of_a_user_runs_as_often_as_by_the_exact_converter(value: Any) -> None:
    """Also where a later field does not fit."""
    counts = []
    for convert in (Compiler().compile(Holder), compile_exactly(Holder)):
        Counted.made = 0
        seen = outcome(convert, value)
        counts.append((seen, Counted.made))
    assert counts[0] == counts[1]


def test_a_default_factory_runs_for_each_instance() -> None:
    """A value is not shared by instances."""
    convert = Compiler().compile(Choices)
    first, second = (convert({"note": None, "address": None}) for _ in range(2))
    assert first.tags == ["new"]
    assert first.tags is not second.tags


def test_containers_are_copies() -> None:
    """A value that a handler changes is not that of another one."""
    made = Compiler().compile(Containers)(CONTAINERS)
    for name in ("texts", "numbers", "anything", "counts", "loose", "plain", "table"):
        assert getattr(made, name) == CONTAINERS[name]
        assert getattr(made, name) is not CONTAINERS[name]


def test_an_error_of_a_mismatch_has_no_trace_of_the_attempt() -> None:
    """A traceback shows the mismatch alone."""
    with pytest.raises(ConversionError, match="x: missing") as refused:
        Compiler().compile(Slotted)({})
    assert refused.value.__context__ is None


# -- names -----------------------------------------------------------------------------------------------------------

EVIL = [
    "'] = __import__('os').abort() #",
    '"""\nraise SystemExit\n"""',
    "{x}",
    "{0.__class__}",
    "%s",
    "\\",
    "\n",
    "",
    "x0",
    "n1",
    "value",
    "missing",
    "class",
    "ﬁ",
]


def test_names_of_keys_are_no_code() -> None:
    """A TypedDict may have any text for a key."""
    evil = TypedDict("evil", dict.fromkeys(EVIL, int))  # type: ignore[misc]
    value = dict.fromkeys(EVIL, 1)
    convert = Compiler().compile(evil)
    assert convert.__code__.co_filename == "<generated converter>"
    assert convert(value) == value
    with pytest.raises(ConversionError) as refused:
        convert({**value, EVIL[0]: "text"})
    assert str(refused.value) == f"{EVIL[0]}: expected int, got str"


def test_names_of_fields_are_no_code() -> None:
    """Nor variables of the generated function."""
    names = ["x0", "n1", "value", "missing", "exact", "step", "error", "reraise_at", "type", "convert"]
    cls = make_dataclass("Evil", [(name, str) for name in names], kw_only=True)
    convert = compile_converter(cls)
    assert convert({name: name for name in names}) == cls(**{name: name for name in names})


def test_names_of_classes_and_values_of_enums_are_no_code() -> None:
    """They appear in errors, as they are."""
    evil = Enum(str(EVIL[0]), {"A": EVIL[1]})  # type: ignore[misc]
    cls = make_dataclass("Evil", [("a", evil), ("b", Literal[EVIL[0]])])
    assert compile_converter(cls)({"a": EVIL[1], "b": EVIL[0]}) == cls(evil(EVIL[1]), EVIL[0])
    with pytest.raises(ConversionError, match="b: expected"):
        compile_converter(cls)({"a": EVIL[1], "b": "b"})


# -- threads ---------------------------------------------------------------------------------------------------------


def test_threads_may_compile_a_type_at_once() -> None:
    """Each of them gets a converter that is whole, also of a recursive type."""
    barrier, results = threading.Barrier(8), []

    def convert(target_type: Any) -> None:
        barrier.wait(scaled(10))
        results.append(repr(compile_converter(target_type)([NODE])))

    for number in range(5):
        node = make_dataclass(f"Node{number}", [("value", int), ("next", Later | None)])
        target_type = GenericAlias(list, (node,))
        threads = [threading.Thread(target=convert, args=(target_type,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(scaled(10))
        assert len(results) == 8 * (number + 1)
        assert len(set(results[-8:])) == 1
