"""Converters of objects with fields, generated as source: as fast as code that is written by hand for one class.

A generated function first takes a value apart, and checks all that can be checked without running code of the user. If
anything does not fit, it leaves the value to the exact converter, which finds the first mismatch and its place. Names
and objects of the user are in the namespace of the function, and never in its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum, EnumMeta
from types import FunctionType
from typing import Any, NamedTuple
from uuid import UUID

from ...callables import signature_of
from .converters import SCALARS, Converter, identity, reraise_at

MISSING = object()
_ISO_UTC = ("Z", "z")


class Step(NamedTuple):
    """The source that converts one variable.

    Attributes:
        write: writes the lines for the variable with a name.
        is_pure: they run no code of the user; they raise any exception where the value does not fit.
    """

    write: Callable[[Source, str], None]
    is_pure: bool = True


class Source:
    """The source of one function, with its namespace."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._lines: list[str] = []
        self._depth = 0

    def name(self, value: Any) -> str:
        """Return the name of a value in the namespace."""
        name = f"n{len(self.names)}"
        self.names[name] = value
        return name

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self._lines.append("    " * self._depth + text)

    def block(self, head: str, write: Callable[[], object]) -> None:
        """Add a line that opens a block, and what ``write`` adds within."""
        self.line(head)
        self._depth += 1
        write()
        self._depth -= 1

    def function(self, name: str) -> Any:
        """Compile the lines, and return the function of a name."""
        exec(compile("\n".join(self._lines), "<generated converter>", "exec"), self.names)
        return self.names[name]


# -- steps -----------------------------------------------------------------------------------------------------------


def calling(convert: Converter, *, is_pure: bool = False) -> Step:
    """Return the step that calls a converter."""
    return Step(lambda source, x: source.line(f"{x} = {source.name(convert)}({x})"), is_pure)


def optional_step(inner: Step) -> Step:
    """Return the step that leaves ``None`` as it is."""
    return Step(
        lambda source, x: source.block(f"if {x} is not None:", lambda: inner.write(source, x) or source.line("pass")),
        inner.is_pure,
    )


def enum_step(cls: type[Enum]) -> Step | None:
    """Return the step from a value to a member of an ordinary enum, ``None`` for others."""
    kinds = {type(member._value_) for member in cls}
    if type(cls).__call__ is not EnumMeta.__call__ or kinds not in ({str}, {int}):
        return None
    # Exact types only: True is equal to 1, and 1.0 is.
    return _lookup({member._value_: member for member in cls.__members__.values()}, *kinds)


def literal_step(choices: tuple[Any, ...]) -> Step | None:
    """Return the step for a ``Literal`` of texts, ``None`` for others."""
    return (
        _lookup({choice: choice for choice in choices}, str) if {type(choice) for choice in choices} == {str} else None
    )


def _lookup(table: dict[Any, Any], kind: type) -> Step:
    def write(source: Source, x: str) -> None:
        _require(source, f"type({x}) is {kind.__name__}")
        source.line(f"{x} = {source.name(table)}[{x}]")

    return Step(write)


def list_step(item: Converter, build: Callable[[list[Any]], Any]) -> Step | None:
    """Return the step for a list of texts, numbers, flags or values of any type, ``None`` for other items."""
    kinds = _EXACT_ITEMS.get(item)
    if kinds is None:
        return None

    def write(source: Source, x: str) -> None:
        _require(source, f"type({x}) is list" + (f" and {_all_of(source, kinds, x)}" if kinds else ""))
        items = f"list(map(float, {x}))" if kinds == _NUMBERS else f"{x}[:]"
        source.line(f"{x} = {items if build is identity else f'{source.name(build)}({items})'}")

    return Step(write)


def dictionary_step(key: Converter, item: Converter, build: Callable[[dict[Any, Any]], Any]) -> Step | None:
    """Return the step for an object of texts, integers, flags or values of any type, ``None`` for other values."""
    kinds, keys = _EXACT_ITEMS.get(item, _NUMBERS), _EXACT_ITEMS.get(key, _NUMBERS)
    if _NUMBERS in (kinds, keys):
        return None

    def write(source: Source, x: str) -> None:
        conditions = [f"type({x}) is dict"]
        conditions += [_all_of(source, keys, x)] if keys else []
        conditions += [_all_of(source, kinds, f"{x}.values()")] if kinds else []
        _require(source, " and ".join(conditions))
        source.line(f"{x} = {f'{x}.copy()' if build is identity else f'{source.name(build)}({x})'}")

    return Step(write)


def _all_of(source: Source, kinds: frozenset[type], items: str) -> str:
    return f"{source.name(kinds)}.issuperset(map(type, {items}))"


def _require(source: Source, condition: str) -> None:
    source.block(f"if not ({condition}):", lambda: source.line("raise TypeError"))


def exactly(kind: type) -> Step:
    """Return the step that requires a builtin type."""
    return Step(lambda source, x: _require(source, f"type({x}) is {kind.__name__}"))


def _parsed(parse: Callable[[str], Any], *, has_offset: bool = False) -> Step:
    def write(source: Source, x: str) -> None:
        _require(source, f"type({x}) is str")
        text = f"({x}[:-1] + '+00:00' if {x}.endswith({source.name(_ISO_UTC)}) else {x})" if has_offset else x
        source.line(f"{x} = {source.name(parse)}({text})")

    return Step(write)


def _write_float(source: Source, x: str) -> None:
    source.block(
        f"if type({x}) is not float:",
        lambda: (_require(source, f"type({x}) is int"), source.line(f"{x} = float({x})")),
    )


_NUMBERS = frozenset({float, int})
_EXACT_ITEMS: dict[Converter, frozenset[type]] = {
    SCALARS[Any]: frozenset(),
    SCALARS[float]: _NUMBERS,
    **{SCALARS[kind]: frozenset({kind}) for kind in (str, int, bool)},
}

STEPS: dict[Converter, Step] = {
    SCALARS[Any]: Step(lambda source, x: None),
    SCALARS[type(None)]: Step(lambda source, x: _require(source, f"{x} is None")),
    SCALARS[bool]: exactly(bool),
    SCALARS[int]: exactly(int),
    SCALARS[str]: exactly(str),
    SCALARS[float]: Step(_write_float),
    SCALARS[datetime]: _parsed(datetime.fromisoformat, has_offset=True),
    SCALARS[date]: _parsed(date.fromisoformat),
    SCALARS[time]: _parsed(time.fromisoformat, has_offset=True),
    SCALARS[UUID]: _parsed(UUID),
    **{SCALARS[kind]: calling(SCALARS[kind], is_pure=True) for kind in (Decimal, bytes, bytearray)},
}
"""The steps of converters that are the same for each type."""

# -- objects ---------------------------------------------------------------------------------------------------------


class Constructor(NamedTuple):
    """The call that makes an instance.

    Attributes:
        make: the class.
        positional: the names of the parameters that are passed by position, in their order.
        keywords: the names of those that are passed by name.
        defaults: the values of those that may be missing.
    """

    make: Any
    positional: list[str]
    keywords: list[str]
    defaults: dict[str, Any]

    def write(self, source: Source, variables: Mapping[str, str]) -> None:
        """Write the line that returns the instance, made of the variables of its parameters."""
        arguments = [variables[name] for name in self.positional]
        if self.keywords:
            pairs = [f"{source.name(name)}: {variables[name]}" for name in self.keywords]
            arguments.append(f"**{{{', '.join(pairs)}}}")
        source.line(f"return {source.name(self.make)}({', '.join(arguments)})")


def constructor_of(cls: Any, names: Iterable[str], required: Iterable[str]) -> Constructor | None:
    """Return the call that does the same as ``cls(**fields)``; ``None`` if the parameters cannot be known.

    Args:
        cls: the class.
        names: the names of the fields.
        required: the names of those that are always passed.
    """
    if type(cls).__call__ is not type.__call__:
        return None
    has_init, has_new = cls.__init__ is not object.__init__, cls.__new__ is not object.__new__
    function = cls.__init__ if has_init else cls.__new__
    # What a decorator returns has the signature of what it wraps, and other parameters.
    if has_init is has_new or type(function) is not FunctionType or vars(function):
        return None
    parameters = list(signature_of(function).parameters.values())[1:]
    ordinary = [parameter for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    keywords = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    known = [*(parameter.name for parameter in ordinary), *keywords]
    if set(known) != set(names) or len(known) < len(parameters):
        return None
    # To pass the default is the same as to pass nothing: a default factory is called by the constructor as well.
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
    }
    if not set(names) - set(required) <= set(defaults):
        return None
    return Constructor(cls, [parameter.name for parameter in ordinary], keywords, defaults)


class Field(NamedTuple):
    """A field of an object.

    Attributes:
        name: the key in the object, and the name of the parameter of the constructor.
        step: converts its value.
    """

    name: str
    step: Step


def object_converter(
    fields: list[Field], required: Iterable[str], constructor: Constructor | None, exact: Converter
) -> Converter:
    """Return the generated converter from an object.

    Args:
        fields: the fields, in the order in which they are converted.
        required: the names of those that must be present.
        constructor: the call that makes the instance, ``None`` for a dictionary.
        exact: the converter for values that do not fit.
    """
    writer = _ObjectWriter(fields, frozenset(required), constructor)
    source = writer.source
    source.names |= {"exact": exact, "missing": MISSING, "reraise_at": reraise_at}

    def body() -> None:
        source.block("if type(value) is not dict:", lambda: source.line("return exact(value)"))
        source.block("try:", writer.take_apart)
        source.block("except Exception:", lambda: source.line("pass"))
        source.block("else:", writer.finish)
        # Outside of the handler: the error of a mismatch has no other error as its context.
        source.line("return exact(value)")

    source.block("def convert(value):", body)
    return source.function("convert")  # type: ignore[no-any-return]


class _ObjectWriter:
    """The writer of the parts of the converter from an object; see `object_converter`."""

    def __init__(self, fields: list[Field], needed: frozenset[str], constructor: Constructor | None) -> None:
        self.source = Source()
        self._fields = fields
        self._needed = needed
        self._constructor = constructor
        self._variables = {field.name: f"x{number}" for number, field in enumerate(fields)}

    def take_apart(self) -> None:
        """Write what runs no code of the user: a value that does not fit raises, and nothing has happened."""
        for field in self._fields:
            x, key = self._variables[field.name], self.source.name(field.name)
            self.source.line(
                f"{x} = value[{key}]" if field.name in self._needed else f"{x} = value.get({key}, missing)"
            )
        for field in self._fields:
            if field.step.is_pure:
                self._convert(field)
        self.source.line("pass")

    def finish(self) -> None:
        """Write what may run code of the user, once, and the return of the instance."""
        if not all(field.step.is_pure for field in self._fields):
            self.source.block("try:", self._convert_further)
            self.source.block("except Exception as error:", lambda: self.source.line("reraise_at(error, step)"))
        if self._constructor is None:
            self._write_dictionary()
        else:
            self._constructor.write(self.source, self._variables)

    def _convert_further(self) -> None:
        for field in self._fields:
            if not field.step.is_pure:
                self.source.line(f"step = {self.source.name(f'.{field.name}')}")
                self._convert(field)

    def _convert(self, field: Field) -> None:
        source, x = self.source, self._variables[field.name]
        if field.name in self._needed:
            field.step.write(source, x)
            return
        default = "missing" if self._constructor is None else source.name(self._constructor.defaults[field.name])
        source.block(f"if {x} is missing:", lambda: source.line(f"{x} = {default}"))
        source.block("else:", lambda: (field.step.write(source, x), source.line("pass")))

    def _write_dictionary(self) -> None:
        source = self.source
        source.line("made = {}")
        for field in self._fields:
            x = self._variables[field.name]
            line = f"made[{source.name(field.name)}] = {x}"
            if field.name in self._needed:
                source.line(line)
            else:
                source.block(f"if {x} is not missing:", lambda line=line: source.line(line))  # type: ignore[misc]
        source.line("return made")
