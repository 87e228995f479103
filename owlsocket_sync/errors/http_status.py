"""The meaning of an HTTP refusal for the next attempt: whether there is one, and when."""

from __future__ import annotations

import time

MAX_RETRY_AFTER = 3600.0
"""Seconds; a server that asks for more is asked again after these."""

_TEMPORARY = frozenset({408, 425, 429})
_UNSUPPORTED = frozenset({501, 505})


def is_final(status: int) -> bool:
    """Return whether the same request would be refused again: most 3xx and 4xx statuses, and what is not supported."""
    # RFC 9110, section 15; RFC 6585, section 4: a request may be repeated after 408, 425 (RFC 8470) and 429.
    return (300 <= status < 500 and status not in _TEMPORARY) or status in _UNSUPPORTED


def parse_retry_after(value: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, section 10.2.3), or ``None``.

    Args:
        value: a number of seconds, or a date.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Cut first: Python refuses to convert thousands of digits.
        return min(float(text[:9]), MAX_RETRY_AFTER)
    from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, IndexError):  # what a date can be wrong in, by version of Python
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER)
