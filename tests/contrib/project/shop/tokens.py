"""Credentials of the shop."""

from __future__ import annotations

import os

LETTERS = "no callable"


def read() -> str:
    """Return a token from the environment."""
    return os.environ.get("SHOP_TOKEN", "c2hvcA")
