"""Moments as JavaScript writes them: ISO 8601 in UTC, with milliseconds and a Z."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from ..errors import AuthMalformed

_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


def read_date(value: object, what: str) -> datetime:
    """The moment that a text names.

    Raises:
        AuthMalformed: it names none; ``what`` says of what the message speaks.
    """
    found = _ISO.match(value) if isinstance(value, str) else None
    try:
        if found:
            fraction = (found[2] or ".")[1:7].ljust(6, "0")
            zone = "+00:00" if found[3] == "Z" else found[3]
            return datetime.fromisoformat(f"{found[1]}.{fraction}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass  # the pattern lets months through that there are not
    raise AuthMalformed(f"{what}: expected a date such as 2026-01-31T12:00:00.000Z")


def write_date(moment: datetime) -> str:
    """The text for a moment.

    Raises:
        AuthMalformed: it has no time zone, and so could be any moment of a day.
    """
    if moment.tzinfo is None:
        raise AuthMalformed("a date without a time zone names no moment")
    text = moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
