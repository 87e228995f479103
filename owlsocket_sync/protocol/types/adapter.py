"""Conversion of JSON values to types, each of which is compiled once.

Annotations are inspected when a type is first used. For each value, only plain and generated functions are left.
"""

from __future__ import annotations

import types
from functools import lru_cache
from typing import Any, get_args, get_origin

from ...errors import ResilientError, SocketMessageMalformed
from ...errors.safe_text import safe_str
from ...values import truncate
from .compiler import Compiler
from .converters import ConversionError, Converter, check_function, reraise_at
from .hints import name_of, with_article

# A program that makes types at run time must not fill the memory with their converters.
COMPILED_TYPES = 1024


def convert_to(value: Any, target_type: Any, subject: str) -> Any:
    """Convert a value.

    Args:
        value: a JSON value.
        target_type: a type, a callable that converts, or a `TypeAdapter`.
        subject: what the value is, for the error: ``"the result of 'echo'"``.

    Raises:
        SocketMessageMalformed: the value does not fit.
    """
    try:
        return (target_type.convert if isinstance(target_type, TypeAdapter) else compile_converter(target_type))(value)
    except ResilientError:
        # A converter of the user's that raises an error of the package chose it for the caller.
        raise
    except Exception as error:
        reason = (
            f"{error.kind}: {error}"
            if isinstance(error, ConversionError)
            else f"{type(error).__name__}: {truncate(safe_str(error))}"
        )
        name = with_article(target_type.name if isinstance(target_type, TypeAdapter) else name_of(target_type))
        raise SocketMessageMalformed(f"{subject} is not {name}: {reason}") from error


def convert_argument(convert: Converter, name: str, value: Any) -> Any:
    """Convert an argument of a method.

    Raises:
        SocketMessageMalformed: the value does not fit; the message names the argument and the place within it.
    """
    try:
        return convert(value)
    except ResilientError:
        raise
    except Exception as error:
        try:
            reraise_at(error, name)
        except ConversionError as placed:
            # A mismatch is the usual case, and needs no class name; a ValueError of a parser does.
            kind = "" if placed.kind == "TypeError" else f"{placed.kind}: "
            raise SocketMessageMalformed(f"argument {placed.describe(kind)}") from error


class TypeAdapter:
    """A type that is known to be convertible, with its converter.

    Args:
        target_type: a type, or a callable that converts.

    Raises:
        TypeError: no JSON value can be converted to the type.
    """

    __slots__ = ("convert", "name")

    def __init__(self, target_type: Any) -> None:
        self.convert = compile_converter(target_type)
        self.name = name_of(target_type)

    def __call__(self, value: Any, subject: str) -> Any:
        """Convert a value, as `convert_to` does."""
        return convert_to(value, self, subject)


def compile_converter(target_type: Any) -> Converter:
    """Return the converter for a type, from a cache; a callable that is not a type is its own converter.

    Raises:
        TypeError: no JSON value can be converted to the type.
    """
    # A lambda is new at each call: cached, it would push the types out, and keep alive what it closes over.
    if isinstance(target_type, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        check_function(target_type)
        return target_type
    try:
        return _compile_cached(target_type, "" if _has_no_union(target_type) else repr(target_type))
    except TypeError:
        # The cache needs a hash; a callable object without one does not need the cache.
        if callable(target_type) and type(target_type).__hash__ is None:
            check_function(target_type)
            return target_type  # type: ignore[no-any-return]
        raise


def _has_no_union(target_type: Any) -> bool:
    # Unions that differ in their order are equal, but the order decides which member is tried first: their text tells
    # them apart in the cache. It takes longer than some conversions, so the most frequent types go without.
    if type(target_type) is type:
        return True
    if type(target_type) is types.GenericAlias:
        return all(type(argument) is type for argument in get_args(target_type))
    return get_origin(target_type) is None


@lru_cache(COMPILED_TYPES)
def _compile_cached(target_type: Any, text: str) -> Converter:
    return Compiler().compile(target_type)
