"""`kinds`: the parameters of a long test, of which only the usual ones run each time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def kinds(names: Iterable[Any], *usual: Any) -> list[Any]:
    """Return them all; those that are not usual are variants, which run only where ``-m`` is given."""
    names = list(names)
    assert set(usual) <= set(names)
    return [pytest.param(name, marks=() if name in usual else pytest.mark.variant) for name in names]
