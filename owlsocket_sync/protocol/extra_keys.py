"""Further keys of a message, beside those of the protocol; a peer that does not know them passes them over.

Instruments put the context of a trace there. Where none does, nothing is written, and nothing is looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from .json_parser import parse_refused

RESERVED = frozenset(
    {"type", "payload", "id", "method", "event", "stage", "timeout", "dt", "sender", "recipient", "seq"}
)
MAX_VALUE = 8192
"""The most characters of a value that is read; as many as W3C Baggage has to carry."""


def write_keys(message: bytes, keys: Mapping[str, str]) -> bytes:
    """Return an encoded message with further keys at its end.

    Raises:
        TypeError: a key or a value is not text, or cannot be sent as UTF-8.
        ValueError: a key is one of the protocol.
    """
    for name, value in keys.items():
        if name in RESERVED:
            raise ValueError(f"the key {name!r} of a message is one of the protocol, an instrument cannot set it")
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"an instrument adds text to a message, not {type(value).__name__} as {name!r}")
    return b"%b,%b" % (message[:-1], orjson.dumps(dict(keys))[1:])


def read_keys(text: str | None, names: Iterable[str]) -> dict[str, str]:
    """Return those of these keys that a message has; a value that is not text, or too long, is passed over.

    Args:
        text: the message as it was received.
        names: the keys to look for.
    """
    looked_for = [name for name in names if name not in RESERVED]
    # Most messages have none of them: those are not parsed once more.
    if text is None or not any(f'"{name}"' in text for name in looked_for):
        return {}
    fields = _parse(text)
    return {
        name: value for name in looked_for if isinstance(value := fields.get(name), str) and len(value) <= MAX_VALUE
    }


def _parse(text: str) -> dict[str, Any]:
    try:
        fields = orjson.loads(text)
    except ValueError:
        try:
            fields = parse_refused(text)  # as the message itself was read
        except (ValueError, RecursionError):
            return {}
    return fields if isinstance(fields, dict) else {}
