"""The stub of a server in TypeScript: the methods and events as `@owlmeans/socket` calls and observes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .outline import MethodOutline, Outline, ParameterOutline, as_schema, outline_of
from .python_types import MAX_TEXT, is_short_scalar
from .schemas import MAX_DEPTH, Schema
from .wording import class_name, free_name, one_line

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z", re.ASCII)
_WORDS = """
any arguments as async await bigint boolean break case catch class const continue debugger declare default delete do
else enum eval export extends false finally for function if implements import in instanceof interface keyof let never
new null number object of package private protected public return static string super switch symbol this throw true
try type typeof undefined unknown var void while with yield
Array Events Methods Parameters Promise Record ReturnType TypedConnection
"""
_SCALARS = {"boolean": "boolean", "integer": "number", "number": "number", "string": "string", "null": "null"}
_REF = "#/types/"
_CONNECTION = """
/** A connection of `@owlmeans/socket` to this server: `const typed: TypedConnection = connection`. */
export interface TypedConnection {
  call<M extends keyof Methods>(method: M, ...payload: Parameters<Methods[M]>): Promise<ReturnType<Methods[M]>>;
  observe<E extends keyof Events>(
    event: E,
    handler: (message: { event: string; payload: Events[E] }) => Promise<void>,
  ): () => void;
}
"""


def typescript_stub(description: dict[str, Any]) -> str:
    """Return a ``.d.ts`` with the contract of a server.

    Args:
        description: what `fetch_description` returned, or a file of its JSON.

    Returns:
        The source, the same for the same description. Nothing that the server named becomes code.
    """
    return _TypeScriptStub(outline_of(description)).text()


class _TypeScriptStub:
    """The stub of one description."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._inlined: dict[str, str | None] = {}
        taken = set(_WORDS.split())
        # An interface or a list of values has a name; a type that is not one is written where it is used.
        self._names = {
            name: free_name(class_name(name, "Type"), taken)
            for name, schema in outline.types.items()
            if isinstance(schema.get("properties"), dict) or isinstance(schema.get("enum"), list)
        }

    def text(self) -> str:
        # One interface for all methods: an overload for each would make errors long, and compilers slow.
        blocks = [
            "// The contract of a server, as `owlsocket stub --typescript` wrote it: do not edit.",
            *self._definitions(),
            _interface("Methods", [line for method in self._outline.methods for line in self._method(method)]),
            _interface("Events", [f"{json.dumps(name)}: {self.of(each)};" for name, each in self._event_items()]),
            _CONNECTION.strip(),
        ]
        return "\n\n".join(blocks) + "\n"

    def _event_items(self) -> Iterator[tuple[str, Schema]]:
        return iter(self._outline.events.items())

    def _definitions(self) -> Iterator[str]:
        for name, type_name in self._names.items():
            schema = self._outline.types[name]
            comment = _comment(schema.get("description"))
            if isinstance(schema.get("enum"), list):
                yield "\n".join([*comment, f"export type {type_name} = {self._literal(schema['enum'])};"])
            else:
                required, fields = schema.get("required"), schema["properties"]
                needed = required if isinstance(required, list) else []
                lines = [f"{_key(key)}{'' if key in needed else '?'}: {self.of(each)};" for key, each in fields.items()]
                yield "\n".join([*comment, _interface(type_name, lines)])

    def _method(self, method: MethodOutline) -> list[str]:
        # A caller of the reference gets the whole message in place of null.
        is_null = method.result.get("type") == "null"
        result = "void" if is_null else self.of(method.result)
        signature = f"({', '.join(self._parameters(method.parameters))}) => {result}"
        return [*_comment(method.doc), f"{json.dumps(method.name)}: {signature};"]

    def _parameters(self, parameters: list[ParameterOutline]) -> Iterator[str]:
        # A keyword cannot name a parameter either, and a type that is hidden by one could not be used.
        taken = set(_WORDS.split())
        for index, parameter in enumerate(parameters):
            name = parameter.name if _NAME.match(parameter.name) else f"arg{index + 1}"
            name = free_name(f"{name}_" if name in taken else name, taken)
            if parameter.variadic:
                yield f"...{name}: Array<{self.of(parameter.schema)}>"
                return
            # A required parameter cannot follow an optional one.
            mark = "?" if all(each.optional or each.variadic for each in parameters[index:]) else ""
            yield f"{name}{mark}: {self.of(parameter.schema)}"

    def of(self, schema: Any, depth: int = 0) -> str:
        """Return the type for a schema; ``unknown`` for one that is not understood."""
        schema = as_schema(schema)
        if depth > MAX_DEPTH:
            return "unknown"
        if isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"].removeprefix(_REF), depth)
        if isinstance(schema.get("enum"), list):
            return self._literal(schema["enum"])
        if isinstance(schema.get("anyOf"), list):
            members = dict.fromkeys(self.of(member, depth + 1) for member in schema["anyOf"])
            return " | ".join(members) if members and "unknown" not in members else "unknown"
        kind = schema.get("type")
        if kind == "array" and isinstance(schema.get("prefixItems"), list):
            return f"[{', '.join(self.of(item, depth + 1) for item in schema['prefixItems'])}]"
        if kind == "array":
            return f"Array<{self.of(schema.get('items'), depth + 1)}>"
        if kind == "object":
            return f"Record<string, {self.of(schema.get('additionalProperties'), depth + 1)}>"
        return _SCALARS.get(kind, "unknown") if isinstance(kind, str) else "unknown"

    def _referred(self, name: str, depth: int) -> str:
        if name in self._names:
            return self._names[name]
        if name not in self._inlined:
            self._inlined[name] = None  # of a type that contains itself, which TypeScript refuses as an alias
            text = self.of(self._outline.types.get(name), depth + 1)
            self._inlined[name] = text if len(text) <= MAX_TEXT else None
        return self._inlined[name] or "unknown"

    def _literal(self, values: list[Any]) -> str:
        are_scalars = all(map(is_short_scalar, values))
        return " | ".join(dict.fromkeys(map(json.dumps, values))) if values and are_scalars else "unknown"


def _interface(name: str, lines: list[str]) -> str:
    return "\n".join([f"export interface {name} {{", *(f"  {line}" for line in lines), "}"])


def _key(name: str) -> str:
    # JSON text is a literal of TypeScript, too, since it is all ASCII.
    return name if _NAME.match(name) else json.dumps(name)


def _comment(text: Any) -> list[str]:
    line = one_line(text, 110) if isinstance(text, str) else ""
    # The only text that could end the comment.
    return [f"/** {line.replace('*/', '* /')} */"] if line else []
