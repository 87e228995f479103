"""The handlers that a new registration replaces: those of the same function, whose source has been run once more.

A cell of a notebook that runs again makes a new function of the same name. Without a replacement, each run would add
one more handler.
"""

from __future__ import annotations

import sys
from types import FunctionType

FunctionName = tuple[str, str]
"""The module of a function, and its qualified name."""


def name_of_function(handler: object) -> FunctionName | None:
    """Return the module and the qualified name of a handler, ``None`` for one without, such as a partial."""
    module, name = getattr(handler, "__module__", None), getattr(handler, "__qualname__", None)
    return (module, name) if isinstance(module, str) and isinstance(name, str) else None


def name_to_replace(handler: object) -> FunctionName:
    """Return the name by which a handler replaces others because its program asks for that.

    Raises:
        TypeError: the handler has no name.
    """
    name = name_of_function(handler)
    if name is None:
        kind = type(handler).__name__
        raise TypeError(f"replace=True needs a function or a method, which has a name to compare, not {kind}")
    return name


def name_in_cell(handler: object) -> FunctionName | None:
    """Return the name by which a handler replaces others in IPython; ``None`` for a handler that is only added.

    It is a function of a cell that has a name of its own. A lambda, a function in a function and a method share their
    names with others, which a program may register side by side.
    """
    if type(handler) is not FunctionType or handler.__module__ != "__main__":
        return None
    # Wrapped by `functools.wraps`, it has the name of what it wraps.
    if not handler.__qualname__.isidentifier() or not _runs_cells():
        return None
    return name_of_function(handler)


def _runs_cells() -> bool:
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_shell is not None and get_shell() is not None
