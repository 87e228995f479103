"""Converters of values that contain others: collections, mappings, objects with fields, unions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from ...errors.safe_text import safe_str
from ...values import truncate
from .converters import ConversionError, Converter, reraise_at, short_repr, type_mismatch


def collection_of(item: Converter, build: Callable[[list[Any]], Any]) -> Converter:
    """Return a converter from a list, all of whose items have one type.

    Args:
        item: converts an item.
        build: makes the collection of the converted items.
    """

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise type_mismatch("a list", value)
        converted: list[Any] = []
        try:
            # Adds each item at once, so that those before a failed one are there.
            converted.extend(map(item, value))
        except Exception as error:
            # The number of items that are done is the index of the failed one.
            reraise_at(error, f"[{len(converted)}]")
        return build(converted)

    return convert


def tuple_of(items: tuple[Converter, ...], build: Callable[[list[Any]], Any]) -> Converter:
    """Return a converter from a list of fixed length, each of whose items has its own type."""

    def convert(value: Any) -> Any:
        if type(value) is not list:
            raise type_mismatch("a list", value)
        if len(value) != len(items):
            raise ConversionError(f"expected a list of {len(items)}, got a list of {len(value)}")
        converted: list[Any] = []
        try:
            for item, entry in zip(items, value, strict=True):
                converted.append(item(entry))
        except Exception as error:
            reraise_at(error, f"[{len(converted)}]")
        return build(converted)

    return convert


def mapping_of(key: Converter, item: Converter, build: Callable[[dict[Any, Any]], Any]) -> Converter:
    """Return a converter from an object, all of whose keys and values have one type each."""

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise type_mismatch("an object", value)
        converted: dict[Any, Any] = {}
        for name, entry in value.items():
            try:
                converted[key(name)] = item(entry)
            except Exception as error:
                reraise_at(error, f"[{short_repr(name)}]")
        return build(converted)

    return convert


def text_key(key_type: Any, convert: Converter) -> Converter:
    """Return the converter for the keys of a mapping: numbers and flags are parsed from their text."""

    def convert_key(name: str) -> Any:
        try:
            return convert(name)
        except ConversionError:
            # JSON has text keys only: `dict[int, str]` was written with "1", an enum of integers as well.
            for parse in (int, float) if key_type is not bool else ({"true": True, "false": False}.__getitem__,):
                try:
                    return convert(parse(name))
                except (ValueError, KeyError, ConversionError):
                    continue
            # The error of the text itself: that is what the peer sent.
            raise

    is_enum = isinstance(key_type, type) and issubclass(key_type, Enum)
    return convert_key if key_type in (int, float, bool) or is_enum else convert


def object_of(fields: Mapping[str, Converter], required: Iterable[str], build: Callable[..., Any]) -> Converter:
    """Return a converter from an object with known keys.

    Args:
        fields: the converter of each key.
        required: the keys that must be present.
        build: is called with the converted values as keyword arguments.
    """
    needed = frozenset(required)

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            raise type_mismatch("an object", value)
        converted = {}
        # By the known keys, not by those that came: a newer peer may send further ones, and those are ignored.
        for name, item in fields.items():
            if name in value:
                try:
                    converted[name] = item(value[name])
                except Exception as error:
                    reraise_at(error, f".{name}")
            elif name in needed:
                raise ConversionError("missing", f".{name}")
        return build(**converted)

    return convert


class _UnionState(threading.local):
    """The attempts within the outermost union that this thread converts, by the ids of union and value."""

    attempts: dict[tuple[int, int], tuple[Any, Any, Any, str | None]] | None = None


_state = _UnionState()


def union_of(options: Sequence[tuple[str, Converter]], name: str, *, keeps_integers: bool) -> Converter:
    """Return a converter that tries the members of a union in the order in which they are written.

    Args:
        options: the name and the converter of each member.
        name: the union, for errors.
        keeps_integers: ``int`` is a member.
    """

    def attempt(value: Any) -> tuple[Any, str | None]:
        """Return the converted value, or the reason why no member fits."""
        reasons = []
        for option, item in options:
            try:
                return item(value), None
            except Exception as error:
                reasons.append(truncate(f"{option}: {safe_str(error)}"))
        return None, f"expected {name}, got {type(value).__name__} ({'; '.join(reasons)})"

    def attempt_once(value: Any) -> tuple[Any, str | None]:
        # Of a union within a union, each member of the outer one would convert the same value again: without a
        # memory, a recursive union costs two to the power of its depth, which a peer chooses.
        attempts = _state.attempts
        if attempts is None:
            _state.attempts = {}
            try:
                return attempt(value)
            finally:
                _state.attempts = None
        key = id(options), id(value)
        known = attempts.get(key)
        if known is None:
            # With the union and the value themselves: their ids must not be used again while they are a key.
            known = attempts[key] = (options, value, *attempt(value))
        return known[2:]

    def convert(value: Any) -> Any:
        # `float | int` would otherwise make a float of every integer, since float is tried first.
        if keeps_integers and type(value) is int:
            return value
        converted, reason = attempt_once(value) if isinstance(value, (dict, list)) else attempt(value)
        if reason is not None:
            # A new error each time: the containers around it write their steps into it.
            raise ConversionError(reason)
        return converted

    return convert


def optional(item: Converter) -> Converter:
    """Return a converter that accepts ``null`` as well."""

    def convert(value: Any) -> Any:
        return None if value is None else item(value)

    return convert
