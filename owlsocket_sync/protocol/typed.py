"""Interfaces in Python's words: results made into types, objects whose methods are calls, and the other way round."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from ..errors import ResilientError, SocketMessageMalformed

Interface = TypeVar("Interface")


def convert(value: Any, result_type: Any, what: str) -> Any:
    """Make ``value`` what the caller asked for: a dataclass of its keys, or whatever another callable makes of it.

    Raises:
        SocketMessageMalformed: it cannot be made that; ``what`` says of what the message speaks.
    """
    if result_type is None:
        return value
    try:
        if dataclasses.is_dataclass(result_type) and isinstance(result_type, type):
            return _make_dataclass(value, result_type)
        return result_type(value)
    except ResilientError:
        raise
    except Exception as error:
        name = getattr(result_type, "__name__", repr(result_type))
        raise SocketMessageMalformed(f"{what} is no {name}: {type(error).__name__}: {error}") from error


def _make_dataclass(value: Any, result_type: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {type(value).__name__}")
    from_dict = getattr(result_type, "from_dict", None)
    return from_dict(value) if callable(from_dict) else result_type(**value)


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
        interface: a class; its public methods are what can be called, their signatures how. A return annotation
            that is a dataclass becomes the type of the result.
        prefix: goes before each name on the wire.
        call: sends a call.
    """

    def __init__(self, interface: type[Interface], prefix: str, call: Callable[..., Any]) -> None:
        for name, method in public_methods(interface):
            setattr(self, name, _remote(name, method, f"{prefix}{name}", call))
        self._repr = f"<proxy of {interface.__name__} under {prefix!r}>"

    def __repr__(self) -> str:
        return self._repr


def _remote(name: str, method: Callable[..., Any], wire_name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method, eval_str=True)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    if any(one.kind in (one.KEYWORD_ONLY, one.VAR_KEYWORD) for one in parameters):
        raise ValueError(f"{name}: calls carry arguments by position, it cannot have keyword-only ones")
    signature = signature.replace(parameters=parameters)
    returned = signature.return_annotation
    result_type = returned if dataclasses.is_dataclass(returned) else None

    def remote(*arguments: Any, **keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        bound.apply_defaults()
        return call(wire_name, *bound.args, result_type=result_type)

    remote.__name__ = remote.__qualname__ = name
    remote.__doc__ = method.__doc__
    return remote
