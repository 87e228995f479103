"""The stub of a server in Python: a `typing.Protocol` for `Connection.proxy`, and the types of its methods and events.

It is a module to import, not a ``.pyi``: `proxy` reads the annotations, and converts results to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .outline import MethodOutline, Outline, ParameterOutline, outline_of
from .python_types import PythonTypes
from .schemas import MISSING
from .wording import WIDTH, class_name, docstring, free_name, is_name, one_line, quoted

_HEADER = '"""The contract of a server, as `owlsocket stub` wrote it: do not edit."""'
_LAST_NAME = re.compile(r"(.*[^A-Za-z0-9_])?([A-Za-z0-9_]+)\Z", re.DOTALL | re.ASCII)


def python_stub(description: dict[str, Any]) -> str:
    """Return the source of a module with the contract of a server.

    Args:
        description: what `fetch_description` returned, or a file of its JSON.

    Returns:
        The source, the same for the same description. Nothing that the server named becomes code.
    """
    return _PythonStub(outline_of(description)).text()


def split_name(name: str) -> tuple[str, str] | None:
    """Return the prefix and the attribute of a proxy for a method; ``None`` where no attribute can have the name."""
    found = _LAST_NAME.match(name)
    return (found[1] or "", found[2]) if found and is_name(found[2]) else None


class _PythonStub:
    """The stub of one description."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._groups: dict[str, list[tuple[str, MethodOutline]]] = {}
        self._unnamed: list[MethodOutline] = []
        for method in outline.methods:
            place = split_name(method.name)
            if place is None:
                self._unnamed.append(method)
            else:
                self._groups.setdefault(place[0], []).append((place[1], method))
        # Of all groups together: a name of an annotation is the same in the whole stub.
        attributes = [attribute for group in self._groups.values() for attribute, _ in group]
        self._types = PythonTypes(outline, attributes)

    def text(self) -> str:
        blocks = [*self._types.definitions(), *self._protocols(), *self._events(), *self._comments()]
        # Last: the blocks decide what is imported.
        imports = ["from __future__ import annotations", "", *self._types.imports()]
        parts = [[_HEADER, "", *imports], *blocks]
        return "\n\n\n".join("\n".join(lines).rstrip() for lines in parts) + "\n"

    def _protocols(self) -> Iterator[list[str]]:
        for prefix, methods in sorted(self._groups.items()):
            # After the types of the server, whose names it must not take.
            name = free_name(class_name(prefix, "Methods"), self._types.taken)
            usage = f", prefix={quoted(prefix)}" if prefix else ""
            lines = [f"class {name}({self._types.word('Protocol')}):"]
            lines.append(docstring(f"Methods for conn.proxy({name}{usage}).", "    "))
            for attribute, method in methods:
                lines += ["", *self._method(attribute, method)]
            yield lines

    def _method(self, attribute: str, method: MethodOutline) -> list[str]:
        parameters = ["self", *self._parameters(method.parameters)]
        result = self._types.of(method.result)
        end = f") -> {result}:"
        signature = f"    def {attribute}({', '.join(parameters)}{end}"
        # With the dots: to pyright, a body of a docstring alone returns None.
        body = [docstring(method.doc, "        "), "        ..."] if method.doc else []
        if len(signature) + (0 if body else len(" ...")) <= WIDTH:
            lines = [signature]
        else:
            # With a comma at the end, which keeps formatters from joining the lines.
            lines = [f"    def {attribute}(", *(f"        {parameter}," for parameter in parameters), f"    {end}"]
        if not body:
            lines[-1] += " ..."
        return [*lines, *body]

    def _parameters(self, parameters: list[ParameterOutline]) -> Iterator[str]:
        taken = {"self"}
        first = next((index for index, each in enumerate(parameters) if each.optional), len(parameters))
        # A proxy sends the defaults that its interface names: without one, an argument that is left out stays out.
        if any(not each.optional and not each.variadic for each in parameters[first:]):
            parameters = [*parameters[:first], ParameterOutline("more", {}, variadic=True)]
        for index, parameter in enumerate(parameters, 1):
            name = free_name(parameter.name if is_name(parameter.name) else f"arg{index}", taken)
            annotation = self._types.of(parameter.schema)
            if parameter.variadic:
                # The last one: a call has positional arguments only.
                yield f"*{name}: {annotation}"
                return
            default = self._default(parameter) if parameter.optional else None
            if parameter.optional and default is None:
                is_last = parameter is parameters[-1]
                yield f"*{name if is_last else free_name('more', taken)}: " + (
                    annotation if is_last else self._types.word("Any")
                )
                return
            yield f"{name}: {annotation}" + ("" if default is None else f" = {default}")

    def _default(self, parameter: ParameterOutline) -> str | None:
        return None if parameter.default is MISSING else self._types.default(parameter.schema, parameter.default)

    def _events(self) -> Iterator[list[str]]:
        if self._outline.events:
            words = self._types.word
            yield [
                f"EVENTS: {words('dict')}[{words('str')}, {words('Any')}] = {{",
                *(f"    {quoted(name)}: {self._types.of(schema)}," for name, schema in self._outline.events.items()),
                "}",
                '"""The type of each event: conn.observe(name, handler, payload_type=EVENTS[name])."""',
            ]

    def _comments(self) -> Iterator[list[str]]:
        if self._unnamed:
            calls = [
                one_line(f"# conn.call({', '.join([quoted(method.name), *_argument_names(method)])})", WIDTH)
                for method in self._unnamed
            ]
            yield ["# Methods whose names cannot be those of attributes:", *calls]


def _argument_names(method: MethodOutline) -> list[str]:
    return [
        parameter.name if is_name(parameter.name) else f"arg{index}"
        for index, parameter in enumerate(method.parameters, 1)
    ]
