"""Functions of the user, checked where they are passed in: a mistake there would show late, or never."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import (
    Parameter,
    Signature,
    isasyncgenfunction,
    isawaitable,
    iscoroutinefunction,
    isgeneratorfunction,
    signature,
)
from typing import Any

ANY = "*payload"
"""The parameters of a function that is called with any number of arguments."""


def signature_of(function: Callable[..., Any], *, follow_wrapped: bool = True) -> Signature:
    """Return the signature, as `inspect.signature` does; an annotation may name what exists for type checkers only.

    Python 3.14 evaluates annotations when they are asked for, and not where they are written.
    """
    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        options["annotation_format"] = Format.FORWARDREF
    return signature(function, follow_wrapped=follow_wrapped, **options)


def find_misfit(function: object, parameters: str | None = None, *, allow_async: bool = False) -> str | None:
    """Return why a function cannot be called as a handler, after its name in a sentence; ``None`` if it can.

    Args:
        function: the function, or any other value.
        parameters: what it is called with, by position, such as ``"id, payload"``; ``None`` for no check of that.
        allow_async: it may be an async function.
    """
    if not callable(function):
        return f"must be callable, not {type(function).__name__}"
    # Also the method of an object that is called like a function.
    bodies = (function, vars(type(function)).get("__call__"))
    # The coroutine or generator that it returns would be dropped, and its body would never run.
    if any(map(iscoroutinefunction, bodies)) and not allow_async:
        return "must not be an async function: it runs on a thread, and may block"
    if any(isgeneratorfunction(body) or isasyncgenfunction(body) for body in bodies):
        return "must not be a generator function, whose body would not run: return a list instead of yield"
    return None if parameters is None else _find_wrong_parameter(function, parameters)


def refuse_awaitable(result: object, function: str) -> None:
    """Raise `TypeError` for an awaitable: the function that returned it, such as a lambda, has not run yet."""
    if isawaitable(result):
        close = getattr(result, "close", None)
        if close is not None:
            close()  # else Python warns that it was never awaited
        raise TypeError(f"{function} returned an awaitable, which nothing waits for: it must not be async")


def _find_wrong_parameter(function: object, parameters: str) -> str | None:
    try:
        # Of the function itself: a decorator may pass other arguments to the function that it wraps.
        form = signature_of(function, follow_wrapped=False)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # a builtin without one
        return None
    if parameters == ANY:
        names = [name for name, each in form.parameters.items() if _is_required_keyword(each)]
        return f"must have positional parameters, not keyword-only: {', '.join(names)}" if names else None
    try:
        form.bind(*filter(None, parameters.split(", ")))
    except TypeError as error:
        return f"cannot take its arguments, {error}: write def handler({parameters})"
    return None


def _is_required_keyword(parameter: Parameter) -> bool:
    return parameter.kind is Parameter.KEYWORD_ONLY and parameter.default is Parameter.empty
