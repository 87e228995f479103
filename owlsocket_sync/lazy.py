"""Exports of a package: imported at their first use (PEP 562), and shown by the name that programs import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from types import FunctionType
from typing import Any, ForwardRef

ROOT = __name__.partition(".")[0]


def lazy_exports(
    package: str, exports: Mapping[str, Sequence[str]], parts: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: the name of the package.
        exports: for each module of the package, the names that it defines; ``.name`` is a module beside the package.
        parts: the modules of the package that programs import; ``dir`` shows those that are imported.
    """
    module_of = {name: module for module, names in exports.items() for name in names}

    def get(name: str) -> Any:
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = import_module(f".{module}", package)
        # All of them: a program that imports a function sees the classes beside it as well.
        publish(package, (getattr(home, each) for each in exports[module]))
        value = getattr(home, name)
        # Python finds the attribute itself from now on. Two threads may both come here; both set the same object.
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        present = vars(sys.modules[package])
        special = (name for name in present if name.startswith("__") and name.endswith("__"))
        return sorted({*module_of, *special, *(part for part in parts if part in present)})

    return get, names


def eager_exports(package: str, exports: Sequence[str]) -> Callable[[], list[str]]:
    """Return the ``__dir__`` of a package that has imported its exports, which show it as their module from now on."""
    present = vars(sys.modules[package])
    publish(package, (present[name] for name in exports))
    return lambda: sorted({*exports, *(name for name in present if name.startswith("__") and name.endswith("__"))})


def publish(package: str, values: Iterable[Any]) -> None:
    """Let classes and functions show this package as their module: in tracebacks, in pickles, and in ``help()``.

    Those that the whole package exports as well show that one. The module that defines a class still has it, so that
    pickles of earlier versions can be read.
    """
    for value in values:
        if not isinstance(value, (type, FunctionType)):
            continue  # it has no name of its own
        if value.__module__.startswith(f"{ROOT}."):  # else it shows the whole package already
            if isinstance(value, type):
                _keep_hints(value)
            value.__module__ = ROOT if value.__name__ in sys.modules[ROOT].__all__ else package
        if isinstance(value, type) and sys.version_info >= (3, 13):
            _publish_methods(value)


def _publish_methods(cls: type) -> None:
    """Let the methods of a class show its module: where they differ, ``help()`` names both from Python 3.13 on."""
    for member in vars(cls).values():
        method = getattr(member, "__func__", member)
        if isinstance(method, FunctionType) and method.__module__.startswith(f"{ROOT}."):
            method.__module__ = cls.__module__


def _keep_hints(cls: type) -> None:
    """Have the annotations of a class, and of its bases, looked up in the modules that define them."""
    # `typing.get_type_hints`, and libraries that call it, would look in the module that the class shows.
    for base in cls.__mro__:
        hints = vars(base).get("__annotations__") if base.__module__.startswith(f"{ROOT}.") else None
        if hints:
            base.__annotations__ = {name: _at_home(hint, base.__module__) for name, hint in hints.items()}


def _at_home(hint: Any, module: str) -> Any:
    return ForwardRef(hint, is_argument=False, module=module, is_class=True) if isinstance(hint, str) else hint
