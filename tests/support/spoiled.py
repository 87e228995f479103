"""Copies of a JSON value in which something is missing, of another type, or additional."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

JUNK: list[Any] = [None, True, False, 0, 1, 2, 2**70, 1.0, 1.5, "", "a", "red", "5", "soon", "timeout", [], {}, [None]]


@st.composite
def spoiled(draw: st.DrawFn, valid: Any, keys: Sequence[str] = ("more", "class", "0")) -> Any:
    """Draw a copy of a value with up to three changes.

    Args:
        draw: draws the changes.
        valid: the value.
        keys: keys that may be added to an object.
    """
    value = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, 3))):
        value = _with_change(draw, value, keys)
    return value


def _with_change(draw: st.DrawFn, value: Any, keys: Sequence[str]) -> Any:
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 9)) == 0:
        return _junk(draw)
    place: Any = draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
    change = draw(st.sampled_from(["drop", "deeper", "deeper", "deeper", "add"]))
    if change == "drop":
        del value[place]
    elif change == "deeper":
        value[place] = _with_change(draw, value[place], keys)
    elif isinstance(value, dict):
        value[draw(st.sampled_from(keys))] = _junk(draw)
    else:
        value.append(_junk(draw))
    return value


def _junk(draw: st.DrawFn) -> Any:
    # A copy, since a later change may go into it.
    return copy.deepcopy(draw(st.sampled_from(JUNK)))
