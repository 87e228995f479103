"""Messages as JSON text: `decode` and `encode`, both pure functions.

A message that is not valid raises `SocketMessageMalformed`, which carries the fields that could be read, so that a
pending call is failed, or a peer that waits for a result is answered, nevertheless.
"""

from __future__ import annotations

import json
import math
import re
from enum import Enum
from typing import Any

import orjson

from ..errors import SocketMessageMalformed
from ..errors.marshalled import unsent
from .json_parser import MAX_DEPTH, parse_refused
from .json_writer import ORJSON_DEPTH, dumps, dumps_fallback
from .malformed import malformed
from .message_reader import MAX_TIMEOUT_MS, TYPES, common_fields, read_message, timeout_seconds
from .messages import AuthMessage, CallMessage, EventMessage, Message, MessageType, is_id
from .types.jsonable import ORJSON_OPTIONS, to_jsonable

COMPACT_BELOW = 4096

# Types of payloads that orjson never reads differently from json, and the length of a text in which no value can be
# nested deeper than the stack of json allows.
_EXACT = frozenset({str, int, bool, type(None)})
_SHORT = 512

# Every digit and minus becomes "0", everything else a space: then one search finds an integer that orjson reads as a
# float. The shortest are -9223372036854775809 and 18446744073709551616, of 20 characters each.
_DIGITS = bytes(48 if chr(byte) in "-0123456789" else 32 for byte in range(256))
_LONG_RUN, _SAMPLED_RUN = b"0" * 20, b"0" * 4
_LONG_INTEGER = re.compile(r"[\[:,\s]-?[0-9]{19,}[\],}\s]")

_OBJECT_BEGINS = "{", ord("{")
_REFUSED = object()
_EVENT, _CALL = MessageType.EVENT, MessageType.CALL

# -- decoding --------------------------------------------------------------------------------------------------------


def decode(text: str | bytes, depth: int = MAX_DEPTH, ignored: list[str] | None = None) -> Message | str:
    """Decode the content of one frame.

    Args:
        text: the content of a text or binary frame.
        depth: the nesting that is accepted.
        ignored: takes the names of fields that have an unexpected type and are read as absent.

    Returns:
        The message; or the text itself where it begins like JSON and cannot be parsed: listeners receive such text.

    Raises:
        SocketMessageMalformed: text of any other kind, or a message with an invalid field. Its ``text`` is the
            beginning of what was received, its ``fields`` are those that could be read.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _REFUSED
    else:
        message = _decode_ordinary(value, text) if depth >= MAX_DEPTH else None
        if message is not None:
            return message
    # Not text.lstrip(): the reference passes over text with a leading space or byte order mark as well.
    if not text.startswith(("{", "[")):
        raise malformed("text that is not a JSON object", text)
    try:
        if value is _REFUSED:
            value = parse_refused(text)
        elif has_long_integer(text):
            value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return read_message(value, text, depth, [] if ignored is None else ignored)


def _decode_ordinary(value: Any, text: str) -> Message | None:
    """Decode an event, an answer or a call with exactly the fields of an ordinary message, on a short path.

    Returns:
        The message; ``None`` for any other value, which `read_message` has to look at.
    """
    try:
        kind, payload, further = value["type"], value["payload"], len(value) - 3
        if kind == "event":
            name = value["event"]
        elif kind == "result" or kind == "error":
            name = value["id"]
        elif kind == "call":
            name, id, timeout = value["method"], value["id"], value["timeout"]
            further -= 2
        else:
            return None
        dt = sender = None
        if further:
            dt = value["dt"]
            if further == 2:
                sender = value["sender"]
            if further > 2 or type(dt) is not int or not (sender is None or type(sender) is str):
                return None
            dt /= 1000
    except (KeyError, TypeError):
        return None
    # The first condition of `_is_exact` again, inline: most payloads meet it, and a function call is measurable.
    if (type(payload) not in _EXACT or len(text) > _SHORT) and not _is_exact(payload, text):
        return None
    # orjson passes over leading spaces.
    if type(name) is not str or text[0] != "{":
        return None
    if kind == "event":
        return EventMessage(_EVENT, payload, None, sender, None, dt, text, name)
    if kind != "call":
        return Message(TYPES[kind], payload, name, sender, None, dt, text)
    if type(id) is str and type(payload) is list and type(timeout) is int:
        return CallMessage(_CALL, payload, id, sender, None, dt, text, name, timeout_seconds(timeout))
    return None


def _is_exact(payload: Any, text: str | bytes | memoryview) -> bool:
    """Return whether json reads the payload of a text as orjson did."""
    kind = type(payload)
    if kind in _EXACT:
        # Of a field that is there twice the last one counts, but json fails on any that it cannot read.
        if len(text) - (len(payload) if kind is str else 0) <= _SHORT:
            return True
    elif kind is list and len(text) <= _SHORT and _EXACT.issuperset(map(type, payload)):
        return True
    return not has_long_integer(text) if isinstance(text, str) else _is_exact(payload, str(text, "utf-8"))


def has_long_integer(text: str) -> bool:
    """Return whether a JSON text may hold an integer of more than 64 bits, which orjson reads as a float."""
    # Every fifth character first, of which a long integer has four in a row: most texts need no further search.
    return (
        _SAMPLED_RUN in text[::5].encode().translate(_DIGITS)
        and _LONG_RUN in text.encode().translate(_DIGITS)
        and _LONG_INTEGER.search(text) is not None
    )


def decode_answer(text: str | bytes | memoryview, depth: int = MAX_DEPTH) -> tuple[bool, str, Any] | None:
    """Decode the answer to a call, on a short path for the most frequent message of a client.

    Args:
        text: the content of a text frame; bytes are validated here.
        depth: the nesting that is accepted.

    Returns:
        Whether it is a result (and not an error), its id, its payload; ``None`` for any other message, and for one
        that `decode` has to look at.
    """
    try:
        value = orjson.loads(text)
    except (ValueError, RecursionError):
        return None
    # orjson passes over leading spaces.
    kind = value.get("type") if type(value) is dict and text[0] in _OBJECT_BEGINS else None
    if (kind != "result" and kind != "error") or depth < MAX_DEPTH:
        return None
    id = value.get("id")
    if type(id) is not str:
        return None
    payload = value.get("payload")
    if (type(payload) not in _EXACT or len(text) > _SHORT) and not _is_exact(payload, text):
        return None
    # Type, id and payload are there, and only further fields can be invalid.
    if (len(value) != 3 or payload is None) and not _has_valid_fields(value):
        return None
    return kind == "result", id, payload


def _has_valid_fields(answer: dict[str, Any]) -> bool:
    """Return whether no field of an answer with an id is ignored."""
    if len(answer) == 4 and "payload" in answer and type(answer.get("dt")) is int:
        return True
    ignored: list[str] = []
    common_fields(answer, "", ignored)
    return not ignored


# -- encoding --------------------------------------------------------------------------------------------------------


def encode(message: Message, depth: int = MAX_DEPTH) -> bytes:
    """Encode a message, with its keys in the order in which the reference writes them.

    Args:
        message: the message.
        depth: the nesting that is allowed.

    Raises:
        SocketMessageMalformed: the payload contains a value that JSON cannot represent.
    """
    try:
        data = dumps(_fields(message), _to_jsonable, depth)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        name = getattr(message, "method", None) or getattr(message, "event", None) or message.id or ""
        what = f"the {_wire_value(message.type)} {name!r} cannot be sent as JSON".replace(" ''", "")
        raise _not_json(what, error, message.payload) from error
    return compact(data)


def compact(data: bytes) -> bytes:
    """Return the same bytes in an object of their size."""
    # orjson keeps the buffer that it wrote into, some KiB however short the message is; queued messages add up.
    return bytes(memoryview(data)) if len(data) < COMPACT_BELOW else data


def encode_call(
    method: str,
    payload: tuple[Any, ...],
    id: str,
    dt: float | None,
    timeout: float,
    sender: str | None,
    depth: int = MAX_DEPTH,
) -> bytes:
    """Encode a call as `encode` does, without making a `CallMessage` first.

    Args:
        method: the name of the method.
        payload: the arguments.
        id: the id that the answer will carry.
        dt: when the call is sent, in seconds since the epoch.
        timeout: seconds, ``math.inf`` for no limit.
        sender: the name of this end.
        depth: the nesting that is allowed.

    Raises:
        SocketMessageMalformed: an argument contains a value that JSON cannot represent.
    """
    fields: dict[str, Any] = {"method": method, "payload": payload, "type": "call", "id": id}
    if dt is not None:
        fields["dt"] = round(dt * 1000)
    fields["timeout"] = timeout_ms(timeout)
    if sender is not None:
        fields["sender"] = sender
    return _dump_fields(fields, "call", method, depth)


def encode_event(event: str, payload: Any, dt: float | None, sender: str | None, depth: int = MAX_DEPTH) -> bytes:
    """Encode an event as `encode` does, without making an `EventMessage` first.

    Args:
        event: the name of the event.
        payload: what it carries.
        dt: when the event is sent, in seconds since the epoch.
        sender: the name of this end.
        depth: the nesting that is allowed.

    Raises:
        SocketMessageMalformed: the payload contains a value that JSON cannot represent.
    """
    fields: dict[str, Any] = {"event": event, "payload": payload, "type": "event"}
    if dt is not None:
        fields["dt"] = round(dt * 1000)
    if sender is not None:
        fields["sender"] = sender
    return _dump_fields(fields, "event", event, depth)


def _dump_fields(fields: dict[str, Any], kind: str, name: str, depth: int) -> bytes:
    try:
        # Not by way of dumps(): each call and event passes here, and a function call less is measurable.
        if depth < ORJSON_DEPTH:
            return dumps(fields, _to_jsonable, depth)
        try:
            return orjson.dumps(fields, default=_to_jsonable, option=ORJSON_OPTIONS)
        except TypeError as refusal:
            return dumps_fallback(fields, _to_jsonable, depth, refusal)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _not_json(f"the {kind} {name!r} cannot be sent as JSON", error, fields["payload"]) from error


def _not_json(what: str, error: Exception, payload: Any) -> SocketMessageMalformed:
    return unsent(SocketMessageMalformed(f"{what}: {misfit_text(error, payload)}"))


def misfit_text(error: BaseException, payload: Any, name: str = "payload") -> str:
    """Return the reason for which a payload cannot be sent as JSON, with its place; ``name`` is that of the payload."""
    from .json_places import refusal_text

    return refusal_text(error, payload, _to_jsonable, name)


def _to_jsonable(value: Any) -> Any:
    # A message may be the payload of another message: a test server echoes one.
    return _fields(value) if isinstance(value, Message) else to_jsonable(value)


def _wire_value(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _fields(message: Message) -> dict[str, Any]:
    kind = _wire_value(message.type)
    fields: dict[str, Any]
    if isinstance(message, CallMessage):
        fields = {"method": message.method, "payload": message.payload, "type": kind, "id": message.id}
    elif isinstance(message, EventMessage):
        # An event without a name ends the process of a reference server.
        if not isinstance(message.event, str):
            raise TypeError(f"an event is a string, not {type(message.event).__name__}")
        fields = {"event": message.event, "payload": message.payload, "type": kind}
    elif isinstance(message, AuthMessage):
        fields = {"type": kind, "stage": _wire_value(message.stage), "payload": message.payload}
    elif kind in ("result", "error"):
        fields = {"id": message.id, "type": kind, "payload": message.payload}
    else:
        fields = {"type": kind, "payload": message.payload}
    if message.id is not None:
        if type(message.id) is not str and not is_id(message.id):
            raise TypeError(f"an id is a string or a number, not {type(message.id).__name__}")
        fields["id"] = message.id
    if message.dt is not None:
        fields["dt"] = round(message.dt * 1000)
    if isinstance(message, CallMessage) and message.timeout is not None:
        fields["timeout"] = timeout_ms(message.timeout)
    if message.sender is not None:
        fields["sender"] = message.sender
    if message.recipient is not None:
        fields["recipient"] = message.recipient
    return fields


def timeout_ms(seconds: float) -> int:
    """Return a timeout in the milliseconds of the wire, where 0 means no limit."""
    milliseconds = seconds * 1000
    # A longer one overflows the timer of the reference, which then drops the answer; a shorter one must not become 0.
    return 0 if milliseconds > MAX_TIMEOUT_MS else max(1, math.ceil(milliseconds))
