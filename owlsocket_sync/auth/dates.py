"""Dates as JavaScript writes them: ISO 8601 in UTC, with milliseconds and a Z."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from ..errors import AuthMalformed

# \Z, not $: the latter would accept a newline at the end. re.ASCII: \d would match digits of every script.
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)


def parse_date(value: object, what: str) -> datetime:
    """Parse an ISO 8601 date with a time zone; the result is in UTC.

    Args:
        value: the text.
        what: name of the field, for the error message.

    Raises:
        AuthMalformed: the value is not such a date.
    """
    match = _ISO.match(value) if isinstance(value, str) else None
    try:
        if match:
            # Python 3.10 parses three or six digits of a fraction, and does not know Z.
            fraction = (match[2] or ".")[1:7].ljust(6, "0")
            zone = "+00:00" if match[3] == "Z" else match[3]
            return datetime.fromisoformat(f"{match[1]}.{fraction}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass  # the pattern accepts month 13, and year 1 east of Greenwich; both are reported below
    raise AuthMalformed(f"{what}: expected a date such as 2026-01-31T12:00:00.000Z")


def format_date(value: datetime) -> str:
    """Format a date as ISO 8601 in UTC.

    Raises:
        AuthMalformed: the date has no time zone.
    """
    # A naive datetime means local time to some libraries and UTC to others.
    if value.tzinfo is None:
        raise AuthMalformed("cannot format a date without a time zone")
    text = value.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
