"""The number of a message on the wire: a key `seq` beside those of the reference, which passes it over."""

from __future__ import annotations

from typing import Any

import orjson

from ..errors import SocketMessageMalformed
from .hello import MAX_SEQ
from .json_parser import parse_refused
from .json_values import from_json

PING = b'{"type":"ping"}'


def read_number(text: str | None) -> int | None:
    """Return the number of a message, ``None`` if it has none."""
    # Most messages have none: those are not parsed once more.
    if text is None or '"seq"' not in text:
        return None
    try:
        value = orjson.loads(text)
    except ValueError:
        try:
            value = parse_refused(text)  # as the message itself was read
        except (ValueError, RecursionError):
            return None
    seq = value.get("seq") if isinstance(value, dict) else None
    return seq if type(seq) is int and 0 < seq <= MAX_SEQ else None


def write_number(message: bytes, seq: int) -> bytes:
    """Return an encoded message with its number."""
    return b'%b,"seq":%d}' % (message[:-1], seq)


def encode_stored(payload: bytes, id: str, dt: float | None, sender: str | None) -> bytes:
    """Return a message with a payload that is JSON already, with its keys in the order of the reference.

    Raises:
        SocketMessageMalformed: the payload is not JSON.
    """
    # It is not parsed to be written again, only to be sure that it does not break the frame.
    try:
        orjson.loads(payload)
    except ValueError:
        from_json(payload)
        payload = payload.decode("utf-8", errors="replace").encode()  # as it is read here
    fields: dict[str, Any] = {"type": "message", "payload": orjson.Fragment(payload), "id": id}
    if dt is not None:
        fields["dt"] = round(dt * 1000)
    if sender is not None:
        fields["sender"] = sender
    try:
        return orjson.dumps(fields)
    except TypeError as error:  # an id that is not UTF-8
        raise SocketMessageMalformed(f"the id of a stored message cannot be sent: {error}") from error
