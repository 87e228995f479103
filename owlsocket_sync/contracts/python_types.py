"""Types of Python for the schemas of a description: annotations, and the classes that they name."""

from __future__ import annotations

import builtins
import keyword
import math
from collections.abc import Iterable, Iterator
from typing import Any

from .outline import Outline, as_schema
from .schemas import MAX_DEPTH, MISSING, Schema, first_line
from .wording import class_name, docstring, free_name, is_name, quoted

MAX_TEXT = 400
"""Characters of a type that is written where it is used: a hostile server could double them with each reference."""
_MODULES = {
    **dict.fromkeys(("Any", "Literal", "Protocol", "TypedDict"), "typing"),
    **dict.fromkeys(("date", "datetime", "time"), "datetime"),
    **dict.fromkeys(("bool", "bytes", "dict", "float", "int", "list", "str", "tuple"), "builtins"),
    "Decimal": "decimal",
    "Enum": "enum",
    "UUID": "uuid",
}
_FORMATS = {"date-time": "datetime", "date": "date", "time": "time", "uuid": "UUID", "decimal": "Decimal"}
_SCALARS = {"boolean": "bool", "integer": "int", "number": "float"}
_NO_MEMBERS = frozenset({"mro", "name", "value"})
_REF = "#/types/"


class PythonTypes:
    """The types of one stub.

    Args:
        outline: the description.
        attributes: names that the classes of the stub define. Type checkers look for a name of an annotation in the
            class first, so a module-level name that is among them gets another one: ``list`` becomes ``_list``.
    """

    def __init__(self, outline: Outline, attributes: Iterable[str]) -> None:
        self._types = outline.types
        self._attributes = {*attributes, *(key for each in outline.types.values() for key in _properties(each))}
        self._imports: dict[str, set[str]] = {}
        self._inlined: dict[str, str | None] = {}
        self.taken = {*_MODULES, *keyword.kwlist, *dir(builtins), *self._attributes, "EVENTS"}
        self._classes = {
            name: free_name(class_name(name, "Type"), self.taken)
            for name, schema in outline.types.items()
            if _properties(schema) or _members(schema)
        }

    # -- annotations -------------------------------------------------------------------------------------------------

    def word(self, name: str) -> str:
        """Return the name of a type of Python in the stub, which imports it."""
        alias = f"_{name}" if name in self._attributes else name
        if _MODULES[name] != "builtins" or alias != name:
            self._imports.setdefault(_MODULES[name], set()).add(name if alias == name else f"{name} as {alias}")
        return alias

    def imports(self) -> Iterator[str]:
        """Yield the lines that import what `word` returned, in the order in which ruff sorts them."""
        for module, names in sorted(self._imports.items()):
            renamed = sorted(name for name in names if " as " in name)
            yield from (f"from {module} import {name}" for name in renamed)
            if plain := sorted(names.difference(renamed)):
                yield f"from {module} import {', '.join(plain)}"

    def of(self, schema: Any, depth: int = 0) -> str:
        """Return the annotation for a schema; ``Any`` for one that is not understood."""
        schema = as_schema(schema)
        if depth > MAX_DEPTH:
            return self.word("Any")
        if isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"].removeprefix(_REF), depth)
        if isinstance(schema.get("enum"), list):
            return self._literal(schema["enum"])
        if isinstance(schema.get("anyOf"), list):
            return self._union([self.of(member, depth + 1) for member in schema["anyOf"]])
        kind = schema.get("type")
        if kind == "null":
            return "None"
        if kind == "string":
            if schema.get("contentEncoding") == "base64":
                return self.word("bytes")
            form = schema.get("format")
            return self.word(_FORMATS.get(form, "str") if isinstance(form, str) else "str")
        if kind == "array":
            return self._array(schema, depth)
        if kind == "object":
            return f"{self.word('dict')}[{self.word('str')}, {self.of(schema.get('additionalProperties'), depth + 1)}]"
        return self.word(_SCALARS[kind]) if isinstance(kind, str) and kind in _SCALARS else self.word("Any")

    def _referred(self, name: str, depth: int) -> str:
        if name in self._classes:
            return self._classes[name]
        if name not in self._inlined:
            self._inlined[name] = None  # of a type that contains itself: any value, there
            text = self.of(self._types.get(name), depth + 1)
            self._inlined[name] = text if len(text) <= MAX_TEXT else None
        return self._inlined[name] or self.word("Any")

    def _literal(self, values: list[Any]) -> str:
        # Literal has no floats, and a part of the values would be a wrong type.
        texts = [literal(value) for value in values if not isinstance(value, float)]
        if not texts or None in texts or len(texts) < len(values):
            return self.word("Any")
        return f"{self.word('Literal')}[{', '.join(map(str, dict.fromkeys(texts)))}]"

    def _union(self, members: list[str]) -> str:
        # Of types that are equal in Python, such as two enums without names, one is enough.
        members = list(dict.fromkeys(members))
        return " | ".join(members) if members and self.word("Any") not in members else self.word("Any")

    def _array(self, schema: Schema, depth: int) -> str:
        items = schema.get("prefixItems")
        if isinstance(items, list):
            inner = ", ".join(self.of(item, depth + 1) for item in items) or "()"
            return f"{self.word('tuple')}[{inner}]"
        return f"{self.word('list')}[{self.of(schema.get('items'), depth + 1)}]"

    def default(self, schema: Schema, value: Any) -> str | None:
        """Return the default of a parameter in Python; ``None`` where the type has no such literal."""
        name = schema["$ref"].removeprefix(_REF) if isinstance(schema.get("$ref"), str) else ""
        target = self._types.get(name, {}) if name else schema
        for member, each in _members(target) if name in self._classes else ():
            if type(each) is type(value) and each == value:
                return f"{self._classes[name]}.{member}"
        if isinstance(target.get("anyOf"), list):
            found = (self.default(as_schema(member), value) for member in target["anyOf"])
            return next((text for text in found if text is not None), None)
        if value is MISSING or name in self._classes:
            return None
        return literal(value) if _fits(value, target) else None

    # -- classes -----------------------------------------------------------------------------------------------------

    def definitions(self) -> Iterator[list[str]]:
        """Yield the lines of each class, in the order of the description."""
        for name, python_name in self._classes.items():
            schema = self._types[name]
            members = _members(schema)
            if members:
                yield [
                    f"class {python_name}({self.word('Enum')}):",
                    *_documented(schema),
                    *(f"    {member} = {literal(value)}" for member, value in members),
                ]
            else:
                yield from self._typed_dict(python_name, schema)

    def _typed_dict(self, name: str, schema: Schema) -> Iterator[list[str]]:
        # Not NotRequired, which typing has since Python 3.11: a class for the keys that may be missing.
        fields, required = _properties(schema), schema.get("required")
        needed = [key for key in fields if isinstance(required, list) and key in required]
        optional = [key for key in fields if key not in needed]
        base = self.word("TypedDict")
        if all(map(is_name, fields)):
            if needed and optional:
                yield [f"class _{name}({base}):", *self._annotations(fields, needed)]
                yield [
                    f"class {name}(_{name}, total=False):",
                    *_documented(schema),
                    *self._annotations(fields, optional),
                ]
            else:
                total = ", total=False" if optional else ""
                yield [f"class {name}({base}{total}):", *_documented(schema), *self._annotations(fields, fields)]
            return
        # A key that is not a name of Python can be written as a text only; and types as texts, which may be recursive.
        yield [f"_{name} = {base}(", f'    "_{name}",', "    {", *self._entries(fields, needed), "    },", ")"]
        entries = self._entries(fields, optional)
        yield [f"_{name}2 = {base}(", f'    "_{name}2",', "    {", *entries, "    },", "    total=False,", ")"]
        yield [f"class {name}(_{name}, _{name}2):", "    pass"]

    def _annotations(self, fields: Schema, keys: Iterable[str]) -> Iterator[str]:
        return (f"    {key}: {self.of(fields[key])}" for key in keys)

    def _entries(self, fields: Schema, keys: Iterable[str]) -> Iterator[str]:
        return (f"        {quoted(key)}: {quoted(self.of(fields[key]))}," for key in keys)


def _documented(schema: Schema) -> list[str]:
    """Return the lines under the head of a class that say what it is."""
    line = first_line(schema.get("description"))
    return [docstring(line, "    "), ""] if line else []


def literal(value: Any) -> str | None:
    """Return a JSON scalar in Python, ``None`` for any other value."""
    if isinstance(value, str):
        return quoted(value)
    return repr(value) if is_short_scalar(value) else None


def is_short_scalar(value: Any) -> bool:
    """Return whether a value is text, ``null``, a flag, or a number that every reader of JSON has."""
    if isinstance(value, int):
        return value.bit_length() <= 64
    return value is None or isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def _fits(value: Any, schema: Schema) -> bool:
    """Return whether a default can be written for a schema as it is."""
    if isinstance(schema.get("enum"), list):
        return any(type(each) is type(value) and each == value for each in schema["enum"])
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    # Any value has any default; a reference to a class has none that is a scalar.
    if not schema.get("type"):
        return not schema.get("$ref")
    is_text = "format" not in schema and "contentEncoding" not in schema
    return schema["type"] == kinds[type(value)] and (is_text or not isinstance(value, str))


def _properties(schema: Schema) -> Schema:
    """Return the schemas of the fields of an object; none for any other schema."""
    fields = schema.get("properties")
    return fields if isinstance(fields, dict) and schema.get("type") == "object" else {}


def _members(schema: Schema) -> list[tuple[str, Any]]:
    """Return the names and values of an enum, if Python can have a class of them."""
    names, values = schema.get("x-enum-varnames"), schema.get("enum")
    if not isinstance(names, list) or not isinstance(values, list) or len(names) != len(values):
        return []
    are_names = all(isinstance(name, str) and is_name(name) and name not in _NO_MEMBERS for name in names)
    is_plain = all(literal(value) is not None for value in values)
    # Equal values would be one member, and equal names are an error.
    is_unique = len(set(map(repr, values))) == len(values) and len(set(map(str, names))) == len(names)
    return list(zip(names, values, strict=True)) if are_names and is_plain and is_unique else []
