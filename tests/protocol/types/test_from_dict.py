"""Classes of dataclasses-json: the generated converter returns, raises and warns what ``from_dict`` does."""

from __future__ import annotations

import warnings
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Dict, Generic, List, Optional, TypeVar, Union  # noqa: UP035
from uuid import UUID

import pytest
from dataclasses_json import (
    CatchAll,
    DataClassJsonMixin,
    Exclude,
    LetterCase,
    Undefined,
    config,
    dataclass_json,
    global_config,
)
from hypothesis import given, settings

from owlsocket_sync.protocol.types.adapter import compile_converter
from owlsocket_sync.protocol.types.converters import via_from_dict
from owlsocket_sync.protocol.types.from_dict import from_dict_converter
from owlsocket_sync.protocol.types.hints import name_of
from support.helpers import examples
from support.spoiled import spoiled

T = TypeVar("T")
NOON = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)


class Color(Enum):
    """Members with texts."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Plain:
    """A nested class without a ``from_dict``."""

    x: int
    y: Optional[str] = None  # noqa: UP045


@dataclass_json(letter_case=LetterCase.CAMEL)  # type: ignore[call-overload]
@dataclass
class Renamed:
    """A class with a letter case, and fields with names of their own."""

    order_id: int
    placed_at: datetime = field(default=NOON, metadata=config(decoder=datetime.fromisoformat))
    kind: str = field(default="k", metadata=config(field_name="type"))
    hidden: int = field(default=1, metadata=config(exclude=Exclude.ALWAYS))
    evil: int = field(default=2, metadata=config(field_name="'] = 1 #"))


@dataclass
class Scalars(DataClassJsonMixin):
    """A field of each scalar type."""

    flag: bool
    number: int
    ratio: float
    text: str
    color: Color
    at: datetime
    id: UUID
    amount: Decimal
    anything: Any
    day: date = field(metadata=config(decoder=date.fromisoformat))


@dataclass(frozen=True)
class Containers(DataClassJsonMixin):
    """A field of each container."""

    texts: List[str]  # noqa: UP006
    ratios: list[float]
    colors: list[Color]
    plains: list[Plain]
    maybes: list[Optional[int]]  # noqa: UP045
    perhaps: list[Optional[float]]  # noqa: UP045
    nested: list[list[int]]
    anything: list[Any]
    bare: list  # type: ignore[type-arg]
    table: dict  # type: ignore[type-arg]
    counts: Dict[str, int]  # noqa: UP006
    by_name: dict[str, Renamed]


@dataclass
class Defaults(DataClassJsonMixin):
    """Fields that may be missing."""

    plain: Plain
    note: Optional[str] = None  # noqa: UP045
    color: Color = Color.BLUE
    number: int = 5
    ratio: float = 5
    text: str = 5  # type: ignore[assignment]
    at: Optional[datetime] = NOON  # noqa: UP045
    wrong: int = None  # type: ignore[assignment]
    anything: Any = None
    tags: list[str] = field(default_factory=list)
    more: Optional[Dict[str, int]] = field(default_factory=dict)  # noqa: UP006, UP045
    other: Plain | None = None
    made: int = field(init=False, default=7)

    def __post_init__(self) -> None:
        self.seen = [self.note]


@dataclass
class Tree(DataClassJsonMixin):
    """A recursive class."""

    value: int
    children: list[Tree] = field(default_factory=list)
    parent: Optional[Tree] = None  # noqa: UP045


@dataclass(kw_only=True, slots=True)
class Keyword(DataClassJsonMixin):
    """One with parameters that have to be named, and with slots."""

    x: int
    y: str = "y"


@dataclass
class Texts(DataClassJsonMixin):
    """One with a list."""

    x: list[str]


@dataclass
class DefaultDecoded(DataClassJsonMixin):
    """A decoder, which is for a default as well unless it has the annotated type."""

    x: int
    day: date = field(default="2024-02-29", metadata=config(decoder=date.fromisoformat))  # type: ignore[assignment]
    at: Optional[datetime] = field(default=None, metadata=config(decoder=datetime.fromisoformat))  # noqa: UP045


class Inherited(Scalars):
    """A subclass that is not decorated."""


PLAIN = {"x": 1, "y": "y"}
RENAMED = {"orderId": 1, "placedAt": "2024-02-29T12:00:00+00:00", "type": "t", "hidden": 5, "'] = 1 #": 6}
SCALARS = {
    "flag": True,
    "number": 1,
    "ratio": 1.5,
    "text": "t",
    "color": "red",
    "at": 1700000000.5,
    "id": "00000000-0000-0000-0000-000000000001",
    "amount": "1.10",
    "anything": {"a": 1},
    "day": "2024-02-29",
}
CONTAINERS = {
    "texts": ["a"],
    "ratios": [1.5],
    "colors": ["red"],
    "plains": [PLAIN, {"x": 2}],
    "maybes": [1, None],
    "perhaps": [1, 2.5, None],
    "nested": [[1], []],
    "anything": [1, None],
    "bare": [1, "a"],
    "table": {"a": 1},
    "counts": {"a": 1},
    "by_name": {"a": RENAMED},
}
DEFAULTS = {
    "plain": PLAIN,
    "note": "n",
    "color": "red",
    "number": 6,
    "ratio": 1.5,
    "text": "t",
    "at": 5,
    "wrong": 1,
    "anything": [1],
    "tags": ["a"],
    "more": {"a": 1},
    "other": PLAIN,
    "made": 8,
}
TREE = {"value": 1, "children": [{"value": 2, "children": [{"value": 3}]}], "parent": {"value": 4}}
COMPILED: list[tuple[Any, Any]] = [
    (Renamed, RENAMED),
    (Scalars, SCALARS),
    (Inherited, SCALARS),
    (Containers, CONTAINERS),
    (Defaults, DEFAULTS),
    (Tree, TREE),
    (Keyword, {"x": 1, "y": "z"}),
    (DefaultDecoded, {"x": 1, "day": "2024-02-28", "at": "2024-02-28"}),
]


def outcome(convert: Any, value: Any) -> Any:
    """Return what a conversion returns, raises and warns, with the types of all values."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = convert(value)
            seen: Any = (type(made), repr(made), repr(getattr(made, "__dict__", None)))
        except Exception as error:
            seen = (type(error), str(error))
    return seen, [str(each.message) for each in caught]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "valid"), COMPILED, ids=lambda value: name_of(value)[:20])
def test_a_generated_converter_returns_what_from_dict_returns(cls: Any, valid: Any) -> None:
    """For values that fit, and for all others, which from_dict converts, refuses or warns of."""
    generated = from_dict_converter(cls)
    assert generated.__code__.co_filename == "<generated converter>"

    @settings(max_examples=examples(100, 1500), database=None, deadline=None)
    @given(spoiled(valid, ["order_id", "placed_at", "kind", "orderId"]))
    def compare(value: Any) -> None:
        assert outcome(generated, value) == outcome(via_from_dict(cls), value)

    compare()


@pytest.mark.parametrize(("cls", "valid"), COMPILED, ids=lambda value: name_of(value)[:20])
def test_a_value_that_fits_needs_no_from_dict(cls: Any, valid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no depth; nor does one whose optional keys are missing."""
    expected = outcome(via_from_dict(cls), valid)
    generated = from_dict_converter(cls)
    monkeypatch.setattr("dataclasses_json.api._decode_dataclass", None)
    monkeypatch.setattr("dataclasses_json.core._decode_dataclass", None)
    assert outcome(generated, valid) == expected
    assert expected[1] == []
    if cls is Renamed:
        assert generated({"orderId": 1}) == Renamed(1)
        assert generated({"orderId": 1, "more": 2}) == Renamed(1)


# -- what is left to from_dict ---------------------------------------------------------------------------------------


@dataclass
class Decoded(DataClassJsonMixin):
    """A decoder of the user."""

    x: int = field(metadata=config(decoder=lambda text: int(text, 16)))


@dataclass
class Cased(DataClassJsonMixin):
    """A letter case of the user."""

    x: int = field(metadata=config(letter_case=lambda name: name * 2))


@dataclass_json(undefined=Undefined.RAISE)
@dataclass
class Strict:
    """One that refuses further keys."""

    x: int


@dataclass_json(undefined=Undefined.EXCLUDE)
@dataclass
class Excluding:
    """One whose constructor is wrapped."""

    x: int


@dataclass_json(undefined=Undefined.INCLUDE)
@dataclass
class Including:
    """One that keeps further keys."""

    x: int
    rest: CatchAll  # type: ignore[type-arg]


@dataclass
class Overridden(DataClassJsonMixin):
    """One with a ``from_dict`` of its own."""

    x: int

    @classmethod
    def from_dict(cls, kvs: Any, *, infer_missing: bool = False) -> Any:
        """Return something else."""
        return "overridden", kvs


@dataclass
class Either(DataClassJsonMixin):
    """A union, which from_dict hardly looks at."""

    x: Union[int, str, Plain]  # noqa: UP007


@dataclass
class Turned(DataClassJsonMixin):
    """An optional type that is written the other way round."""

    x: Union[None, int]  # noqa: RUF036, UP007


@dataclass
class Times(DataClassJsonMixin):
    """Items that some versions convert."""

    x: list[datetime]


@dataclass
class Tuples(DataClassJsonMixin):
    """A container that it reads in its own way."""

    x: tuple[int, str]


@dataclass
class Box(DataClassJsonMixin, Generic[T]):
    """A generic class."""

    x: T


@dataclass
class Boxes(DataClassJsonMixin):
    """A nested generic class."""

    x: Box[int]


@dataclass
class Ambiguous(DataClassJsonMixin):
    """A key that is the name of another field."""

    x: int = field(metadata=config(field_name="y"))
    y: int = 5


@dataclass
class Seeded(DataClassJsonMixin):
    """A parameter that is no field."""

    x: int
    seed: InitVar[int] = 0


@dataclass
class Made(DataClassJsonMixin):
    """A factory, which from_dict calls for a missing key."""

    x: list[int] = field(default_factory=lambda: [1])


@dataclass
class Lost(DataClassJsonMixin):
    """An annotation that does not exist."""

    x: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Counted:
    """A nested class with code of the user, which runs once for each value."""

    made = 0
    x: int

    def __post_init__(self) -> None:
        type(self).made += 1


@dataclass
class Counting(DataClassJsonMixin):
    """The class around it."""

    first: Counted
    second: int


LEFT: list[tuple[Any, Any]] = [
    (Decoded, {"x": "ff"}),
    (Cased, {"xx": 1}),
    (Strict, {"x": 1, "y": 2}),
    (Excluding, {"x": 1, "y": 2}),
    (Including, {"x": 1, "y": 2}),
    (Overridden, {"x": 1}),
    (Either, {"x": {"x": 1}}),
    (Turned, {"x": 5}),
    (Times, {"x": [5]}),
    (Tuples, {"x": [1, "a"]}),
    (Box, {"x": 1}),
    (Boxes, {"x": {"x": 1}}),
    (Ambiguous, {"y": 1}),
    (Seeded, {"x": 1, "seed": 2}),
    (Made, {}),
    (Lost, {"x": 1}),
    (Counting, {"first": {"x": 1}, "second": "not a number"}),
]


@pytest.mark.parametrize(("cls", "value"), LEFT, ids=lambda value: name_of(value)[:20])
def test_a_customised_class_is_left_to_from_dict(cls: Any, value: Any) -> None:
    """With each of its rules, each time."""
    convert = from_dict_converter(cls)
    assert convert.__code__.co_filename != "<generated converter>"
    assert outcome(convert, value) == outcome(via_from_dict(cls), value)


def test_code_of_a_nested_class_runs_once() -> None:
    """Also where a later field does not fit."""
    Counted.made = 0
    with pytest.raises(ValueError, match="invalid literal"):
        compile_converter(Counting)({"first": {"x": 1}, "second": "not a number"})
    assert Counted.made == 1


def test_code_of_the_outermost_class_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of it is raised, and is no reason for a second attempt."""
    made = []

    @dataclass
    class Failing(DataClassJsonMixin):
        x: int

        def __post_init__(self) -> None:
            made.append(self.x)
            raise ValueError("never")

    convert = from_dict_converter(Failing)
    assert convert.__code__.co_filename == "<generated converter>"
    with pytest.raises(ValueError, match="never") as refused:
        convert({"x": 1})
    assert made == [1]
    assert refused.value.__context__ is None


def test_a_decoder_that_is_set_for_the_process_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a class that was compiled before."""
    decoders: dict[Any, Any] = global_config.decoders
    convert = compile_converter(Texts)
    assert convert({"x": ["a"]}) == Texts(["a"])
    monkeypatch.setitem(decoders, str, str.upper)
    # Not in the versions before 0.6.2, which know such decoders for fields alone.
    assert convert({"x": ["a"]}) == Texts.from_dict({"x": ["a"]})
    monkeypatch.undo()
    assert convert({"x": ["a"]}) == Texts(["a"])


def test_containers_and_defaults_belong_to_one_instance() -> None:
    """As those that from_dict makes."""
    convert = from_dict_converter(Defaults)
    first, second = (convert({"plain": PLAIN, "wrong": 1}) for _ in range(2))
    assert first.tags == []
    assert first.tags is not second.tags
    assert first.more is not second.more
    tags = ["a"]
    assert convert({"plain": PLAIN, "wrong": 1, "tags": tags}).tags is not tags
