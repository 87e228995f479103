"""JSON Schema of the types that payloads are converted to, and any JSON value for all others."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypeVar
from uuid import UUID

import attrs
import pytest
from dataclasses_json import DataClassJsonMixin

from owlsocket_sync.contracts.schemas import MAX_DEPTH, Schemas
from support.contracts import Article, Filter, Page, Point, Size, Tick

UserId = NewType("UserId", int)
Bounded = TypeVar("Bounded", bound=int)
TEXT = {"type": "string"}


class Level(IntEnum):
    """An enum of numbers."""

    LOW = 1
    HIGH = 2


@attrs.define
class Coat:
    """A class of attrs."""

    _color: str
    buttons: int = 3


@dataclasses.dataclass
class Spelled(DataClassJsonMixin):
    """A class that names its keys itself."""

    name: str


@dataclasses.dataclass
class Lost:
    """A class whose annotation leads nowhere."""

    missing: Nowhere  # type: ignore[name-defined]  # noqa: F821


class Opaque:
    """Of which nothing is known."""


@pytest.mark.parametrize(
    ("target_type", "schema"),
    [
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (str, TEXT),
        (None, {"type": "null"}),
        (Any, {}),
        (object, {}),
        (datetime, {**TEXT, "format": "date-time"}),
        (date, {**TEXT, "format": "date"}),
        (time, {**TEXT, "format": "time"}),
        (UUID, {**TEXT, "format": "uuid"}),
        (Decimal, {**TEXT, "format": "decimal"}),
        (bytes, {**TEXT, "contentEncoding": "base64"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (list, {"type": "array", "items": {}}),
        (deque[str], {"type": "array", "items": TEXT}),
        (Sequence[str], {"type": "array", "items": TEXT}),
        (set[str], {"type": "array", "items": TEXT, "uniqueItems": True}),
        (tuple[str, ...], {"type": "array", "items": TEXT}),
        (tuple[str, int], {"type": "array", "prefixItems": [TEXT, {"type": "integer"}], "minItems": 2, "maxItems": 2}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Mapping[str, str], {"type": "object", "additionalProperties": TEXT}),
        (dict, {"type": "object"}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Optional[str], {"anyOf": [TEXT, {"type": "null"}]}),  # noqa: UP045
        (Literal["a", 1, Size.SMALL], {"enum": ["a", 1, "small"]}),
        (UserId, {"type": "integer"}),
        (Bounded, {"type": "integer"}),
        (Annotated[str, "a name"], TEXT),
        (Opaque, {}),
        (timedelta, {}),
        (Callable[[int], int], {}),
        (len, {}),
    ],
    ids=str,
)
def test_a_type_has_its_schema(target_type: Any, schema: dict[str, Any]) -> None:
    """As its values travel; a type that is no payload is any value."""
    schemas = Schemas()
    assert schemas.of(target_type) == schema
    assert schemas.types == {}


@pytest.mark.parametrize(
    ("target_type", "name", "schema"),
    [
        (
            Level,
            "Level",
            {"enum": [1, 2], "x-enum-varnames": ["LOW", "HIGH"], "description": "An enum of numbers."},
        ),
        (
            Coat,
            "Coat",
            {
                "type": "object",
                "properties": {"color": TEXT, "buttons": {"type": "integer"}},
                "required": ["color"],
                "description": "A class of attrs.",
            },
        ),
        (
            Filter,
            "Filter",
            {
                "type": "object",
                "description": "A choice of articles.",
                "properties": {"since": {**TEXT, "format": "date-time"}, "kind": {"enum": ["new", "used"]}},
                "required": [],
            },
        ),
        (
            Point,
            "Point",
            {
                "type": "array",
                "description": "A place on the plan.",
                "prefixItems": [{"title": "x", "type": "number"}, {"title": "y", "type": "number"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (Spelled, "Spelled", {"type": "object"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_class_is_described_once_and_referred_to(target_type: Any, name: str, schema: dict[str, Any]) -> None:
    """By its name, in the table of types."""
    schemas = Schemas()
    assert schemas.of(target_type) == {"$ref": f"#/types/{name}"}
    assert schemas.of(list[target_type]) == {"type": "array", "items": {"$ref": f"#/types/{name}"}}
    assert schemas.types == {name: schema}


def test_a_dataclass_has_its_defaults_its_documentation_and_itself() -> None:
    """A class may contain itself, and an enum member is its value."""
    schemas = Schemas()
    assert schemas.of(Article) == {"$ref": "#/types/Article"}
    assert list(schemas.types) == ["Article", "Size"]
    article = schemas.types["Article"]
    assert article["description"] == "An article of the shop."
    assert article["required"] == ["name", "price"]
    assert article["properties"]["size"] == {"$ref": "#/types/Size", "default": "small"}
    assert article["properties"]["parent"] == {
        "anyOf": [{"$ref": "#/types/Article"}, {"type": "null"}],
        "default": None,
    }
    assert schemas.types["Size"]["description"] == "The sizes of a lantern."


def test_a_generic_class_is_described_for_its_arguments() -> None:
    """Two sets of arguments are two types."""
    schemas = Schemas()
    assert schemas.of(Page[Tick]) == {"$ref": "#/types/Page_Tick"}
    assert schemas.of(Page[int]) == {"$ref": "#/types/Page_int"}
    assert schemas.types["Page_Tick"]["properties"]["items"] == {"type": "array", "items": {"$ref": "#/types/Tick"}}
    assert schemas.types["Page_int"]["properties"]["items"] == {"type": "array", "items": {"type": "integer"}}


def test_two_classes_of_one_name_get_two() -> None:
    """Neither hides the other one."""

    def make(values: list[str]) -> type[Enum]:
        return Enum("Color", values)  # type: ignore[return-value]

    schemas = Schemas()
    assert schemas.of(make(["RED"])) == {"$ref": "#/types/Color"}
    assert schemas.of(make(["BLUE"])) == {"$ref": "#/types/Color_2"}
    assert schemas.types["Color_2"]["x-enum-varnames"] == ["BLUE"]


def test_an_annotation_that_cannot_be_resolved_is_an_error_and_leaves_no_type() -> None:
    """The caller decides what it stands for."""
    schemas = Schemas()
    with pytest.raises(TypeError, match="annotations of Lost cannot be resolved"):
        schemas.of(Lost)
    assert schemas.types == {}


def test_the_depth_of_a_schema_is_bounded() -> None:
    """What is deeper is any value."""
    nested: Any = int
    for _ in range(2 * MAX_DEPTH):
        nested = list[nested]
    schema, depth = Schemas().of(nested), 0
    while "items" in schema:
        schema, depth = schema["items"], depth + 1
    assert schema == {}
    assert depth <= MAX_DEPTH


def test_a_named_tuple_with_defaults_is_a_list_of_its_length() -> None:
    """It is sent whole."""

    class Pair(NamedTuple):
        a: int
        b: int = 5

    schemas = Schemas()
    schemas.of(Pair)
    assert schemas.types["Pair"]["minItems"] == 2
    assert schemas.types["Pair"]["prefixItems"][1] == {"title": "b", "type": "integer"}
