"""The description of a server for people, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .outline import MethodOutline, outline_of
from .python_types import PythonTypes, literal

INDENT = "    "


def listing(description: dict[str, Any]) -> list[str]:
    """Return the lines with methods, events and types of a description, in the words of Python."""
    return list(_lines(description))


def _lines(description: dict[str, Any]) -> Iterator[str]:
    outline = outline_of(description)
    # No attributes: text for people has no classes in which a name could be hidden.
    types = PythonTypes(outline, ())
    yield f"{len(outline.methods)} methods"
    for method in outline.methods:
        yield f"{INDENT}{_signature(types, method)}"
        if method.doc:
            yield f"{2 * INDENT}{method.doc}"
    yield f"{len(outline.events)} events"
    for name, schema in outline.events.items():
        yield f"{INDENT}{name}: {types.of(schema)}"
    definitions = list(types.definitions())
    yield f"{len(definitions)} types"
    for lines in definitions:
        yield from (f"{INDENT}{line}" for line in lines)


def _signature(types: PythonTypes, method: MethodOutline) -> str:
    parameters = []
    for parameter in method.parameters:
        default = literal(parameter.default) or "…" if parameter.optional else None
        parameters.append(
            f"{'*' if parameter.variadic else ''}{parameter.name}: {types.of(parameter.schema)}"
            + ("" if default is None else f" = {default}")
        )
    return f"{method.name}({', '.join(parameters)}) -> {types.of(method.result)}"
