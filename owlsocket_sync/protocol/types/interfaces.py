"""Typed interfaces: converted results, proxies whose methods are calls, methods with converted arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ...callables import signature_of
from ..subscriptions import check_handler
from .public_methods import public_methods

# The adapter and what it imports are loaded by the functions that need it: a program without types pays nothing.
if TYPE_CHECKING:
    from .adapter import TypeAdapter
    from .converters import Converter

Interface = TypeVar("Interface")


def convert(value: Any, result_type: Any, subject: str) -> Any:
    """Convert a value to the type that the caller passed.

    Args:
        value: a JSON value.
        result_type: a type, a callable that converts, or a `TypeAdapter`; ``None`` leaves the value as it is.
        subject: what the value is, for the error: ``"the result of 'echo'"``.

    Raises:
        SocketMessageMalformed: the value does not fit.
    """
    if result_type is None:
        return value
    from .adapter import convert_to

    return convert_to(value, result_type, subject)


def type_adapter(target_type: Any) -> TypeAdapter:
    """Return the adapter for a type that many values are converted to.

    Raises:
        TypeError: no JSON value can be converted to the type.
    """
    from .adapter import TypeAdapter

    return target_type if isinstance(target_type, TypeAdapter) else TypeAdapter(target_type)


class Proxy(Generic[Interface]):
    """An object whose methods call the methods of the peer with the same names.

    Args:
        interface: a class. Its public methods can be called, with their signatures; a return annotation is the type
            of the result.
        prefix: is put before each name on the wire.
        call: sends a call.

    Raises:
        ValueError: a method has keyword-only parameters.
        TypeError: the interface is not a class, a return annotation cannot be resolved, or no JSON value can be
            converted to it.
    """

    def __init__(self, interface: type[Interface], prefix: str, call: Callable[..., Any]) -> None:
        if not isinstance(interface, type):
            raise TypeError(f"interface must be a class, not {type(interface).__name__}")
        # Attributes of the instance, all at once: a mistake in the interface is reported here and not by a late call.
        for name, method in public_methods(interface):
            setattr(self, name, _make_remote_method(name, method, f"{prefix}{name}", call))
        self._repr = f"<proxy of {interface.__name__} under {prefix!r}>"

    def __repr__(self) -> str:
        return self._repr


def _make_remote_method(
    name: str, method: Callable[..., Any], wire_name: str, call: Callable[..., Any]
) -> Callable[..., Any]:
    signature = signature_of(method)
    parameters = list(signature.parameters.values())
    # The method comes from the class, unbound; one of a static method has no self.
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    if any(parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in parameters):
        raise ValueError(f"{name}: a call carries positional arguments only, remove the keyword-only parameters")
    result_type = _result_type(method, signature.return_annotation)
    signature = signature.replace(parameters=parameters)

    def remote(*arguments: Any, **keywords: Any) -> Any:
        # Keywords and defaults are resolved here, since the wire has neither.
        try:
            bound = signature.bind(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None
        bound.apply_defaults()
        return call(wire_name, *bound.args, result_type=result_type)

    remote.__name__ = remote.__qualname__ = name
    remote.__doc__ = method.__doc__
    return remote


def _result_type(method: Callable[..., Any], annotation: Any) -> Any:
    """Return the result type for a call: ``None``, which converts nothing, without an annotation."""
    if annotation is inspect.Signature.empty:
        return None
    from .adapter import TypeAdapter

    try:
        annotation = resolve_annotation(method, annotation)
        if annotation is Any or annotation is object:
            return None
        # `-> None` means that the result is of no interest, whatever the peer returns.
        return TypeAdapter((lambda _: None) if annotation is type(None) else annotation)
    except TypeError as error:
        raise TypeError(f"the result of {_name(method)}: {error}") from error


def resolve_annotation(method: Callable[..., Any], annotation: Any) -> Any:
    """Return an annotation of a method, evaluated; raise `TypeError` where it names something that does not exist."""
    from .hints import resolve_hints

    function: Any = inspect.unwrap(getattr(method, "__func__", method))
    while isinstance(function, partial):
        function = function.func
    names = getattr(function if hasattr(function, "__globals__") else type(function).__call__, "__globals__", {})
    # Alone: another annotation of the method may name what is imported for type checkers only, and not matter here.
    alone = SimpleNamespace(
        __annotations__={"annotation": annotation}, __qualname__=getattr(function, "__qualname__", method)
    )
    return resolve_hints(alone, globalns=names)["annotation"]


def convert_arguments(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method with its arguments converted to their annotations; the method itself without annotations.

    Raises:
        TypeError: an annotation cannot be resolved, no JSON value can be converted to it, or it is an async function.
    """
    check_handler(method, f"the method {getattr(method, '__name__', type(method).__name__)!r}")
    try:
        parameters = list(signature_of(method).parameters.values())
    except ValueError:
        # A builtin without a text signature.
        return method
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    converters = [(parameter.name, _argument_converter(method, parameter)) for parameter in positional]
    variadic = next(
        (
            (parameter.name, _argument_converter(method, parameter))
            for parameter in parameters
            if parameter.kind is parameter.VAR_POSITIONAL
        ),
        None,
    )
    if not any(converter for _, converter in (*converters, *([variadic] if variadic else []))):
        return method

    @wraps(method)
    def perform(*arguments: Any) -> Any:
        # Not strict: a wrong number of arguments is reported by the method itself, in Python's words.
        converted = [
            _convert_argument(converter, name, value)
            for (name, converter), value in zip(converters, arguments, strict=False)
        ]
        further = arguments[len(converted) :]
        if variadic is not None:
            name, converter = variadic
            further = tuple(
                _convert_argument(converter, f"{name}[{index}]", value) for index, value in enumerate(further)
            )
        return method(*converted, *further)

    return perform


def _argument_converter(method: Callable[..., Any], parameter: inspect.Parameter) -> Converter | None:
    if parameter.annotation is parameter.empty:
        return None
    from .adapter import compile_converter

    try:
        annotation = resolve_annotation(method, parameter.annotation)
        return None if annotation is Any or annotation is object else compile_converter(annotation)
    except TypeError as error:
        raise TypeError(f"argument {parameter.name} of {_name(method)}: {error}") from error


def _name(method: Callable[..., Any]) -> str:
    # A functools.partial has no name.
    return getattr(method, "__qualname__", None) or repr(method)


def _convert_argument(converter: Converter | None, name: str, value: Any) -> Any:
    if converter is None:
        return value
    from .adapter import convert_argument

    return convert_argument(converter, name, value)
