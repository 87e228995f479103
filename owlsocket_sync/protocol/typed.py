"""Interfaces in Python's words: results made into types, objects whose methods are calls, and the other way round."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .conversion import Converter
    from .makers import Maker

Interface = TypeVar("Interface")


def convert(value: Any, result_type: Any, what: str) -> Any:
    """Make ``value`` what the caller asked for: a value of a type, or what a callable makes of it.

    Raises:
        SocketMessageMalformed: it cannot be made that; ``what`` says of what the message speaks.
    """
    if result_type is None:
        return value
    from .conversion import convert_to  # those who convert nothing do without

    return convert_to(value, result_type, what)


def converter(wanted: Any) -> Converter:
    """What makes values of a type again and again; raises `TypeError` where it is none."""
    from .conversion import Converter

    return Converter(wanted)


def public_methods(source: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The public methods of an object or class, by name."""
    for name in dir(source):
        if not name.startswith("_"):
            attribute = inspect.getattr_static(source, name)
            if not isinstance(attribute, property):
                method = getattr(source, name)
                if callable(method) and not isinstance(method, type):
                    yield name, method


class Proxy(Generic[Interface]):
    """An object whose methods are calls of the peer's methods with the same names.

    Args:
        interface: a class; its public methods are what can be called, their signatures how. A return annotation is
            the type of the result.
        prefix: goes before each name on the wire.
        call: sends a call.

    Raises:
        ValueError: a method has keyword-only arguments.
        TypeError: a return annotation cannot be read, or nothing of JSON can be made it.
    """

    def __init__(self, interface: type[Interface], prefix: str, call: Callable[..., Any]) -> None:
        for name, method in public_methods(interface):
            setattr(self, name, _remote(name, method, f"{prefix}{name}", call))
        self._repr = f"<proxy of {interface.__name__} under {prefix!r}>"

    def __repr__(self) -> str:
        return self._repr


def _remote(name: str, method: Callable[..., Any], wire_name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    if any(one.kind in (one.KEYWORD_ONLY, one.VAR_KEYWORD) for one in parameters):
        raise ValueError(f"{name}: calls carry arguments by position, it cannot have keyword-only ones")
    result_type = _result_type(method, signature.return_annotation)
    signature = signature.replace(parameters=parameters)

    def remote(*arguments: Any, **keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        return call(wire_name, *bound.args, result_type=result_type)

    remote.__name__ = remote.__qualname__ = name
    remote.__doc__ = method.__doc__
    return remote


def _result_type(method: Callable[..., Any], annotation: Any) -> Any:
    """What a call is told to make of its result: nothing without annotation, and ``None`` of anything with that."""
    if annotation is inspect.Signature.empty:
        return None
    from .conversion import Converter

    try:
        annotation = _evaluated(method, annotation)
        if annotation is Any or annotation is object:
            return None
        return Converter((lambda _: None) if annotation is type(None) else annotation, strict=True)
    except TypeError as error:
        raise TypeError(f"the result of {_name(method)}: {error}") from error


def _evaluated(method: Callable[..., Any], annotation: Any) -> Any:
    """An annotation of a method, alone: of the others it does not matter whether they can be read."""
    from .conversion import hints_of

    function: Any = inspect.unwrap(getattr(method, "__func__", method))
    while isinstance(function, partial):
        function = function.func
    names = getattr(function if hasattr(function, "__globals__") else type(function).__call__, "__globals__", {})
    alone = SimpleNamespace(__annotations__={"it": annotation}, __qualname__=getattr(function, "__qualname__", method))
    return hints_of(alone, globalns=names)["it"]


def by_annotations(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that gets its arguments as its annotations have them; itself where it has none.

    Raises:
        TypeError: an annotation cannot be read, or nothing of JSON can be made it.
    """
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except ValueError:  # one of C, that tells nothing of itself
        return method
    one_each = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    makers = [(one.name, _argument_maker(method, one)) for one in one_each]
    rest = next(
        ((one.name, _argument_maker(method, one)) for one in parameters if one.kind is one.VAR_POSITIONAL), None
    )
    if not any(make for _, make in (*makers, *([rest] if rest else []))):
        return method

    @wraps(method)
    def perform(*arguments: Any) -> Any:
        made = [_argument(make, name, value) for (name, make), value in zip(makers, arguments, strict=False)]
        further = arguments[len(made) :]
        if rest is not None:
            name, make = rest
            further = tuple(_argument(make, f"{name}[{index}]", value) for index, value in enumerate(further))
        return method(*made, *further)

    return perform


def _argument_maker(method: Callable[..., Any], parameter: inspect.Parameter) -> Maker | None:
    if parameter.annotation is parameter.empty:
        return None
    from .conversion import compiled

    try:
        annotation = _evaluated(method, parameter.annotation)
        return None if annotation is Any or annotation is object else compiled(annotation)
    except TypeError as error:
        raise TypeError(f"argument {parameter.name} of {_name(method)}: {error}") from error


def _name(method: Callable[..., Any]) -> str:
    return getattr(method, "__qualname__", None) or repr(method)


def _argument(make: Maker | None, name: str, value: Any) -> Any:
    if make is None:
        return value
    from .conversion import convert_argument

    return convert_argument(make, name, value)
