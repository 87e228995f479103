"""A description as stubs read it: each value of a foreign server is checked, and passed over if it is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from .schemas import MISSING, Schema, first_line


@dataclasses.dataclass(frozen=True)
class ParameterOutline:
    """A parameter of a method.

    Attributes:
        name: any text.
        schema: of its values.
        optional: it may be left out.
        variadic: any number of arguments.
        default: a JSON scalar, `MISSING` where the server names none.
    """

    name: str
    schema: Schema
    optional: bool = False
    variadic: bool = False
    default: Any = MISSING


@dataclasses.dataclass(frozen=True)
class MethodOutline:
    """A method: its name on the wire, which is any text, and its signature."""

    name: str
    parameters: list[ParameterOutline]
    result: Schema
    doc: str


@dataclasses.dataclass(frozen=True)
class Outline:
    """The methods in the order of their names, and the schemas of payloads and types by name."""

    methods: list[MethodOutline]
    events: dict[str, Schema]
    types: dict[str, Schema]


def outline_of(description: dict[str, Any]) -> Outline:
    """Return the outline of a description that `fetch_description`, or a file of its JSON, has given."""
    return Outline(
        [_method(name, entry) for name, entry in sorted(_objects(description.get("methods")))],
        {name: as_schema(entry.get("payload")) for name, entry in sorted(_objects(description.get("events")))},
        dict(_objects(description.get("types"))),
    )


def as_schema(value: Any) -> Schema:
    """Return a value that is a schema, and the schema of any JSON value in place of one that is not."""
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    items = value.items() if isinstance(value, dict) else ()
    return ((name, entry) for name, entry in items if isinstance(name, str) and isinstance(entry, dict))


def _method(name: str, entry: dict[str, Any]) -> MethodOutline:
    # Counted before what is wrong is left out, so that a name such as arg2 tells the position.
    listed = entry.get("parameters")
    parameters = [
        _parameter(index, each)
        for index, each in enumerate(listed if isinstance(listed, list) else (), 1)
        if isinstance(each, dict)
    ]
    doc, stage = first_line(entry.get("doc")), entry.get("stage")
    if isinstance(stage, str):
        doc = f"{doc} Requires the stage {stage}.".strip()
    return MethodOutline(name, parameters, as_schema(entry.get("result")), doc)


def _parameter(index: int, entry: dict[str, Any]) -> ParameterOutline:
    name = entry.get("name")
    default = entry.get("default", MISSING)
    return ParameterOutline(
        name if isinstance(name, str) else f"arg{index}",
        as_schema(entry.get("schema")),
        entry.get("optional") is True,
        entry.get("variadic") is True,
        MISSING if isinstance(default, (dict, list)) else default,
    )
