"""The number of a message on the wire: a key `seq` beside those of the reference, which passes it over."""

from __future__ import annotations

from typing import Any

import orjson

from ..errors import SocketMessageMalformed
from .hello import MAX_SEQ

PING = b'{"type":"ping"}'


def read_number(text: str | None) -> int | None:
    """Return the number of a message, ``None`` if it has none."""
    # Most messages have none: those are not parsed once more.
    if text is None or '"seq"' not in text:
        return None
    try:
        seq = orjson.loads(text).get("seq")
    except (ValueError, AttributeError):
        return None
    return seq if type(seq) is int and 0 < seq <= MAX_SEQ else None


def write_number(message: bytes, seq: int) -> bytes:
    """Return an encoded message with its number."""
    return b'%b,"seq":%d}' % (message[:-1], seq)


def encode_stored(payload: bytes, id: str, dt: float | None, sender: str | None) -> bytes:
    """Return a message with a payload that is JSON already, with its keys in the order of the reference.

    Raises:
        SocketMessageMalformed: the payload is not JSON.
    """
    try:
        fields: dict[str, Any] = {"type": "message", "payload": orjson.Fragment(payload), "id": id}
        orjson.loads(payload)
        if dt is not None:
            fields["dt"] = round(dt * 1000)
        if sender is not None:
            fields["sender"] = sender
        return orjson.dumps(fields)
    except ValueError as error:
        raise SocketMessageMalformed(f"a stored payload cannot be sent: {error}") from error
