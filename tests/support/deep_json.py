"""JSON that is nested too deep for any message, and for the json of most versions of Python."""

from __future__ import annotations

import sys

import pytest

TOO_DEEP = "[" * 40_000 + "]" * 40_000
JSON_IS_SHALLOW = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="the json of this Python reads it: the message is refused instead"
)
