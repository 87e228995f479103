"""Attributes that lead to an attribute of a part: looked up when they are asked for, by code in C, and not kept.

A method that is kept is an object of 64 bytes, for each object that keeps it, and a connection has a hundred of them.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any


def delegate(path: str) -> Any:
    """Return the attribute of a class that stands for ``self.path``, where the path may have dots."""
    return property(attrgetter(path))
