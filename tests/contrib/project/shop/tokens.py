"""Who the shop is."""

from __future__ import annotations

import os

LETTERS = "no callable"


def read() -> str:
    """A token; the environment has it."""
    return os.environ.get("SHOP_TOKEN", "c2hvcA")
