"""Classes of dataclasses-json, read by a generated function that returns what their ``from_dict`` returns.

``from_dict`` inspects the class at each call, which takes some fifty times as long as reading the object. The generated
function reads objects whose values have the annotated types, of classes that customise only the names of their keys.
Everything else is left to ``from_dict``, with its conversions, warnings and errors.
"""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Callable
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from .converters import SCALARS, Converter, identity, via_from_dict
from .generated import (
    MISSING,
    STEPS,
    Constructor,
    Source,
    Step,
    calling,
    constructor_of,
    dictionary_step,
    enum_step,
    exactly,
    list_step,
    optional_step,
)

_SCALARS = (str, int, float, bool)
_KEPT = (datetime, Decimal, UUID, Enum)
_DECODERS = (datetime.fromisoformat, date.fromisoformat, time.fromisoformat, UUID, Decimal, *_SCALARS)


class NotCompiledError(TypeError):
    """A class or an annotation that is left to ``from_dict``."""


def from_dict_converter(cls: Any) -> Converter:
    """Return a converter for a class with a ``from_dict``."""
    exact = via_from_dict(cls)
    try:
        if cls.from_dict.__func__ is not sys.modules["dataclasses_json"].DataClassJsonMixin.from_dict.__func__:
            return exact
        return _Compiler().outermost(cls, exact)
    except Exception:
        # An annotation that cannot be resolved, a custom decoder, and whatever else a class may have.
        return exact


class _Compiler:
    """The compilation of one class, with the dataclasses nested in it."""

    def __init__(self) -> None:
        self._nested: dict[type, list[Converter]] = {}

    def outermost(self, cls: Any, exact: Converter) -> Converter:
        """Return the converter of a class, which leaves to ``exact`` what it cannot read."""
        source, constructor = Source(), _constructor(cls)
        decoders = sys.modules["dataclasses_json.cfg"].global_config.decoders
        source.names |= {"exact": exact, "decoders": decoders, "missing": MISSING}

        def body() -> None:
            source.block("if type(value) is dict and not decoders:", attempt)
            source.line("return exact(value)")

        def attempt() -> None:
            source.block("try:", lambda: self._read(source, cls))
            source.block("except Exception:", lambda: source.line("pass"))
            # Outside of the handler: a `__post_init__` of the class runs once.
            source.block("else:", lambda: constructor.write(source, _variables(cls)))

        source.block("def convert(value):", body)
        return source.function("convert")  # type: ignore[no-any-return]

    def _class(self, cls: Any) -> Converter:
        """Return a function that reads a nested object, and raises any error for one that it cannot read."""
        if cls in self._nested:
            unfinished = self._nested[cls]
            return lambda value: unfinished[0](value)
        finished = self._nested[cls] = []
        source, constructor = Source(), _constructor(cls)
        # Where a later value does not fit, from_dict makes the object again: no code of the user may see that.
        if hasattr(cls, "__post_init__") or not _is_generated(cls):
            raise NotCompiledError(f"the constructor of {cls.__name__} is not that of a dataclass")
        source.names["missing"] = MISSING

        def body() -> None:
            source.block("if type(value) is not dict:", lambda: source.line("raise TypeError"))
            self._read(source, cls)
            constructor.write(source, _variables(cls))

        source.block("def convert(value):", body)
        finished.append(source.function("convert"))
        return finished[0]

    def _read(self, source: Source, cls: Any) -> None:
        """Write the lines that set a variable for each field of a class."""
        keys, hints, variables = _keys(cls), get_type_hints(cls), _variables(cls)
        for field in dataclasses.fields(cls):
            if field.default_factory not in (dataclasses.MISSING, list, dict, set):
                raise NotCompiledError(f"{cls.__name__}.{field.name} has a factory, which from_dict calls")
        for field in _init_fields(cls):
            x, (key, other) = variables[field.name], keys[field.name]
            if other is not None:
                # Both names are accepted, and the later key counts.
                source.block(f"if {source.name(other)} in value:", lambda: source.line("raise KeyError"))
            step = self._field(field, hints[field.name])
            default = _default(source, field, hints[field.name])
            if default is None:
                source.line(f"{x} = value[{source.name(key)}]")
                step.write(source, x)
            else:
                source.line(f"{x} = value.get({source.name(key)}, missing)")
                source.block(f"if {x} is missing:", lambda x=x, default=default: source.line(f"{x} = {default}"))  # type: ignore[misc]
                source.block("else:", lambda x=x, step=step: (step.write(source, x), source.line("pass")))  # type: ignore[misc]
        source.line("pass")

    def _field(self, field: dataclasses.Field[Any], hint: Any) -> Step:
        decoder = _configured(field, "decoder")
        if decoder is None:
            return self._step(hint)
        if decoder not in _DECODERS:
            raise NotCompiledError(f"{field.name} has a decoder")

        def write(source: Source, x: str) -> None:
            # from_dict keeps null, and warns where the type does not allow it.
            source.block(f"if {x} is None:", lambda: source.line("raise TypeError"))
            decode = f"{x} = {source.name(decoder)}({x})"
            source.block(f"if type({x}) is not {source.name(hint)}:", lambda: source.line(decode))

        step = Step(write)
        return optional_step(step) if _optional_of(hint) is not None else step

    def _step(self, hint: Any) -> Step:
        """Return the step for a value of an annotated type.

        Raises:
            NotCompiledError: from_dict reads it in another way.
        """
        inner, origin = _optional_of(hint), get_origin(hint)
        if inner is not None:
            return optional_step(self._step(inner))
        if hint in (*_SCALARS, Any):
            return STEPS[SCALARS[hint]]
        if hint is datetime:
            return _parsed((int, float), _from_timestamp)
        if hint in (UUID, Decimal):
            return _parsed((str,), hint)
        step: Step | None = None
        if isinstance(hint, type) and origin is None:
            if issubclass(hint, Enum):
                step = enum_step(hint)
            elif dataclasses.is_dataclass(hint):
                step = calling(self._class(hint), is_pure=True)
            elif hint is list:
                step = list_step(identity, identity)
            elif hint is dict:
                step = dictionary_step(identity, identity, identity)
        elif origin is list:
            step = self._list(*get_args(hint))
        elif origin is dict and get_args(hint)[0] is str:
            step = self._dictionary(get_args(hint)[1])
        if step is None:
            raise NotCompiledError(f"{hint!r} is left to from_dict")
        return step

    def _list(self, item: Any) -> Step:
        if item in (str, int, bool, Any):
            step = list_step(SCALARS[item], identity)
            assert step is not None
            return step
        convert = self._function(item)

        def write(source: Source, x: str) -> None:
            source.block(f"if type({x}) is not list:", lambda: source.line("raise TypeError"))
            source.line(f"{x} = list(map({source.name(convert)}, {x}))")

        return Step(write)

    def _dictionary(self, item: Any) -> Step:
        texts = dictionary_step(SCALARS[str], identity, identity)
        assert texts is not None
        convert = self._function(item)

        def write(source: Source, x: str) -> None:
            texts.write(source, x)
            source.line(f"{x} = dict(zip({x}, map({source.name(convert)}, {x}.values())))")

        return Step(write)

    def _function(self, item: Any) -> Converter:
        """Return a function that reads an item of a collection."""
        if dataclasses.is_dataclass(item) and isinstance(item, type):
            return self._class(item)
        # Versions of dataclasses-json differ in whether they convert these as items.
        if item in (datetime, UUID, Decimal):
            raise NotCompiledError(f"items of {item.__name__} are left to from_dict")
        source, step = Source(), exactly(item) if item is float else self._step(item)
        source.block("def convert(x):", lambda: (step.write(source, "x"), source.line("return x")))
        return source.function("convert")  # type: ignore[no-any-return]


def _parsed(kinds: tuple[type, ...], parse: Callable[[Any], Any]) -> Step:
    def write(source: Source, x: str) -> None:
        source.block(f"if type({x}) not in {source.name(kinds)}:", lambda: source.line("raise TypeError"))
        source.line(f"{x} = {source.name(parse)}({x})")

    return Step(write)


def _from_timestamp(seconds: float) -> datetime:
    """Return a time as from_dict does: with the offset that this machine has now."""
    return datetime.fromtimestamp(seconds, tz=datetime.now(timezone.utc).astimezone().tzinfo)


def _optional_of(hint: Any) -> Any:
    """Return the type that an annotation allows besides ``None``; ``None`` if it is not of that form."""
    arguments = get_args(hint)
    is_union = get_origin(hint) in (Union, types.UnionType)
    # from_dict takes the first one of the two.
    return arguments[0] if is_union and len(arguments) == 2 and arguments[1] is type(None) else None


def _init_fields(cls: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.init]


def _variables(cls: Any) -> dict[str, str]:
    return {field.name: f"x{number}" for number, field in enumerate(_init_fields(cls))}


def _constructor(cls: Any) -> Constructor:
    names = [field.name for field in _init_fields(cls)]
    constructor = constructor_of(cls, names, names)
    if constructor is None or _configuration(cls).get("undefined") is not None:
        raise NotCompiledError(f"{cls.__name__} has a constructor of its own, or keeps undefined fields")
    return constructor


def _is_generated(cls: Any) -> bool:
    """Return whether making an instance runs no code of the user."""
    function = vars(cls).get("__init__")
    is_plain = cls.__setattr__ is object.__setattr__ or cls.__dataclass_params__.frozen
    return is_plain and isinstance(function, types.FunctionType) and function.__code__.co_filename == "<string>"


def _configured(field: dataclasses.Field[Any], name: str, of_class: dict[str, Any] | None = None) -> Any:
    return {**(of_class or {}), **field.metadata.get("dataclasses_json", {})}.get(name)


def _configuration(cls: Any) -> dict[str, Any]:
    return getattr(cls, "dataclass_json_config", None) or {}


def _keys(cls: Any) -> dict[str, tuple[str, str | None]]:
    """Return the key of each field, and the other key that from_dict accepts for it."""
    configuration = _configuration(cls)
    if configuration.get("decoder") is not None:
        raise NotCompiledError(f"{cls.__name__} has a decoder")
    names = [field.name for field in dataclasses.fields(cls)]
    keys: dict[str, tuple[str, str | None]] = {}
    for field in dataclasses.fields(cls):
        rename = _configured(field, "letter_case", configuration)
        if rename is not None and not rename.__module__.startswith("dataclasses_json."):
            raise NotCompiledError(f"{cls.__name__} has a letter case of its own")
        key = field.name if rename is None else rename(field.name)
        keys[field.name] = (key, field.name if key != field.name else None)
    wire_names = [key for key, _ in keys.values()]
    # A key that is the name of another field is read by an order of precedence.
    if len(set(wire_names)) < len(names) or any(key in names and key != name for name, (key, _) in keys.items()):
        raise NotCompiledError(f"the keys of {cls.__name__} are ambiguous")
    return keys


def _default(source: Source, field: dataclasses.Field[Any], hint: Any) -> str | None:
    """Return the source of the value of a missing field; ``None`` if from_dict has to find it."""
    default, inner = field.default, _optional_of(hint)
    kind = hint if inner is None else inner
    # from_dict converts a default like a value that came, and keeps these.
    if _configured(field, "decoder") is not None:
        is_kept = type(default) is hint or (default is None and inner is not None)
    elif field.default_factory in (list, dict):
        empty = "[]" if field.default_factory is list else "{}"
        return empty if field.default_factory in (kind, get_origin(kind)) else None
    else:
        has_type = type(default) is kind and (kind in _SCALARS or issubclass(kind, _KEPT))
        is_kept = has_type or hint is Any or (default is None and inner is not None)
    return source.name(default) if is_kept and default is not dataclasses.MISSING else None
