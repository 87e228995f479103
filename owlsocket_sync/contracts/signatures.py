"""Signatures of handlers as JSON values: found when a peer asks, and not when the handler is registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..callables import signature_of
from ..protocol.types.interfaces import resolve_annotation
from .schemas import Schema, Schemas, first_line, with_default

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ANY_ARGUMENTS = [{"name": "payload", "schema": {}, "variadic": True}]
"""The parameters of a builtin without a signature."""


def describe_method(handler: Callable[..., Any], schemas: Schemas) -> dict[str, Any]:
    """Return the parameters, the result and the first line of the documentation of a handler.

    A parameter or a result without a type, or with an annotation that JSON cannot be converted to, is any value.

    Args:
        handler: the handler; a decorator that keeps ``__wrapped__``, as `functools.wraps` does, is looked through.
        schemas: get the types that the signature names.
    """
    try:
        signature = signature_of(handler)
    except (TypeError, ValueError):  # a builtin
        return {"parameters": _ANY_ARGUMENTS, "result": {}}
    # A class that is called has the documentation of the class, which is not about the call.
    documented = first_line(inspect.getdoc(handler)) if not isinstance(handler, type) else ""
    return {
        **({"doc": documented} if documented else {}),
        "parameters": [
            _describe_parameter(handler, parameter, schemas)
            for parameter in signature.parameters.values()
            if parameter.kind in (*_POSITIONAL, parameter.VAR_POSITIONAL)
        ],
        "result": _schema(handler, signature.return_annotation, schemas),
    }


def _describe_parameter(handler: Callable[..., Any], parameter: inspect.Parameter, schemas: Schemas) -> dict[str, Any]:
    # Also where the default is not a JSON scalar: the caller may leave it out all the same.
    entry: dict[str, Any] = {"name": parameter.name, "schema": _schema(handler, parameter.annotation, schemas)}
    if parameter.kind is parameter.VAR_POSITIONAL:
        entry["variadic"] = True
    elif parameter.default is not parameter.empty:
        entry |= {"optional": True, **with_default({}, parameter.default)}
    return entry


def _schema(handler: Callable[..., Any], annotation: Any, schemas: Schemas) -> Schema:
    if annotation is inspect.Signature.empty:
        return {}
    try:
        return schemas.of(resolve_annotation(handler, annotation))
    except TypeError:
        # `perform` takes handlers whose annotations are for type checkers alone; the payload is not converted there.
        return {}
