"""Messages read from and written as JSON text; both directions are pure.

A message that is not what it should be raises `SocketMessageMalformed`, which carries what is known of it, so that
whoever waits for an answer can still be told.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any

import orjson

from ..errors import SocketMessageMalformed
from ..stages import AuthenticationStage
from .encoding import WRITTEN_BY_US, plain, plain_throughout
from .messages import AuthMessage, CallMessage, EventMessage, Message, MessageType

MAX_TIMEOUT_MS = 2_147_483_647
MAX_DEPTH = 1024
SMALL = 4096
SHOWN_CHARACTERS = 200

_Common = tuple[Any, Any, Any, Any, str]

# -- reading ---------------------------------------------------------------------------------------------------------


def decode(text: str | bytes, depth: int = 1024) -> Message | str:
    """Read one frame.

    Returns:
        The message; or the text itself where it starts like JSON and is none, which is news for listeners.

    Raises:
        SocketMessageMalformed: it is text of another kind, or a message with a field that cannot be used; its
            ``text`` is what arrived, its ``fields`` the fields as far as they could be read.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    if not text.startswith(("{", "[")):
        raise malformed("text that is no JSON object", text)
    try:
        value = _parse(text)
    except (ValueError, RecursionError):
        return text
    if depth < MAX_DEPTH and _deeper_than(value, depth):
        fields = value if isinstance(value, dict) else None
        raise malformed(f"JSON nested deeper than {depth} levels (Limits.json_depth)", text, fields)
    if isinstance(value, list):
        return Message(payload=value, raw=text)
    kind = value.get("type")
    if kind is None:
        return _untyped(value, text)
    return _typed(kind, value, text)


def decode_answer(text: str, depth: int = 1024) -> tuple[bool, str, Any] | None:
    """Whether it is a result, its id and its payload, of a message that is a result or an error; ``None`` otherwise.

    What cannot be read in one go is ``None`` as well, and left to `decode`.
    """
    try:
        value = orjson.loads(text)
    except (ValueError, RecursionError):
        return None
    kind = value.get("type") if type(value) is dict else None
    if (kind != "result" and kind != "error") or depth < MAX_DEPTH:
        return None
    id = value.get("id")
    if not isinstance(id, str):
        return None
    if len(value) > 3:
        try:
            _common(value, text)
        except SocketMessageMalformed:
            return None
    return kind == "result", id, value.get("payload")


def _parse(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # JavaScript writes half an emoji as an escaped lone surrogate and reads 1e400 as infinity; orjson refuses both.
        if "\\ud" not in text and "\\uD" not in text and "infinity" not in str(error):
            raise
        value = json.loads(text, parse_constant=_refuse_constant, parse_int=_read_integer)
        if _deeper_than(value, MAX_DEPTH):
            raise
        return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _read_integer(digits: str) -> int | float:
    """An integer of up to 64 bits; a larger one is a float, as in JavaScript."""
    return int(digits) if len(digits) < 19 else orjson.loads(digits) if len(digits) < 300 else float(digits)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [inner for outer in level for inner in _inside(outer)]
    return any(isinstance(inner, (dict, list)) for inner in level)


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _untyped(value: dict[str, Any], text: str) -> Message:
    """An object that does not say what it is: a message, with itself as payload where it names none."""
    common = _common(value, text)
    return Message(MessageType.MESSAGE, value.get("payload", value), *common)


def _typed(kind: Any, value: dict[str, Any], text: str) -> Message:
    if not isinstance(kind, str):
        raise malformed(f"a type that is no text but {_shown(kind)}", text, value)
    common = _common(value, text)
    payload = value.get("payload")
    if kind == "call":
        return _read_call(value, payload, common, text)
    if kind == "event" or (kind == "system" and "event" in value):
        event = value.get("event")
        if not isinstance(event, str):
            raise malformed(f"an {kind} whose name is no text but {_shown(event)}", text, value)
        return EventMessage(MessageType(kind), payload, *common, event=event)
    if kind == "auth":
        stage = value.get("stage")
        if stage is not None and not isinstance(stage, str):
            raise malformed(f"an auth message whose stage is no text but {_shown(stage)}", text, value)
        return AuthMessage(MessageType.AUTH, payload, *common, stage=AuthenticationStage.read(stage) if stage else None)
    if kind in ("result", "error", "request", "response") and common[0] is None:
        raise malformed(f"a {kind} without id", text, value)
    return Message(_TYPES.get(kind, kind), payload, *common)


_TYPES: dict[str, MessageType] = {kind.value: kind for kind in MessageType}


def _read_call(value: dict[str, Any], payload: Any, common: _Common, text: str) -> CallMessage:
    method, timeout = value.get("method"), value.get("timeout")
    if not isinstance(method, str):
        raise malformed(f"a call whose method is no text but {_shown(method)}", text, value)
    if not isinstance(payload, list):
        raise malformed(f"a call of {method!r} whose payload is no list of arguments", text, value)
    if timeout is not None and not _is_number(timeout):
        raise malformed(f"a call of {method!r} whose timeout is no number but {_shown(timeout)}", text, value)
    seconds = None
    if timeout is not None:
        seconds = timeout / 1000 if 0 < timeout <= MAX_TIMEOUT_MS else math.inf
    return CallMessage(MessageType.CALL, payload, *common, method, seconds)


def _common(value: dict[str, Any], text: str) -> _Common:
    """The fields that every message may have, in the order of `Message`."""
    id, sender, recipient, dt = value.get("id"), value.get("sender"), value.get("recipient"), value.get("dt")
    if id is not None and not is_id(id):
        raise malformed(f"an id that is neither text nor a number but {_shown(id)}", text, value)
    for name, who in (("sender", sender), ("recipient", recipient)):
        if who is not None and not isinstance(who, str):
            raise malformed(f"a {name} that is no text but {_shown(who)}", text, value)
    if dt is not None and not _is_number(dt):
        raise malformed(f"a dt that is no number but {_shown(dt)}", text, value)
    return id, sender, recipient, None if dt is None else dt / 1000, text


def is_id(value: Any) -> bool:
    """Whether this can join an answer to its question: text, or a number that can be written again."""
    return isinstance(value, str) or _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except RecursionError:
        return f"a deep {type(value).__name__}"


def malformed(what: str, text: str, fields: Mapping[str, Any] | None = None) -> SocketMessageMalformed:
    """The error for something that arrived; it shows the beginning of it."""
    if len(what) > SHOWN_CHARACTERS:
        what = what[:SHOWN_CHARACTERS] + "…"
    error = SocketMessageMalformed(f"received {what}: {text[:SHOWN_CHARACTERS]!r}")
    error.text = text[:SHOWN_CHARACTERS]
    error.fields = fields or {}
    return error


# -- writing ---------------------------------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """Write one message, its keys in the order in which the reference writes them.

    Raises:
        SocketMessageMalformed: the payload holds what JSON cannot carry.
    """
    try:
        data = _write(_fields(message))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        what = getattr(message, "method", None) or getattr(message, "event", None) or message.id or ""
        raise SocketMessageMalformed(
            f"the {_word(message.type)} {what!r} cannot be sent as JSON: {error}".replace(" ''", "")
        ) from error
    return compact(data)


def compact(data: bytes) -> bytes:
    """The same, in no more room than it needs: JSON is written into some KiB, however short the message is."""
    return bytes(memoryview(data)) if len(data) < SMALL else data


def encode_call(
    method: str, payload: tuple[Any, ...], id: str, dt: float | None, timeout: float, sender: str | None
) -> bytes:
    """Write a call; what `encode` makes of one, without the detour over a message.

    Raises:
        SocketMessageMalformed: an argument is what JSON cannot carry.
    """
    fields: dict[str, Any] = {"method": method, "payload": payload, "type": "call", "id": id}
    if dt is not None:
        fields["dt"] = round(dt * 1000)
    fields["timeout"] = timeout_ms(timeout)
    if sender is not None:
        fields["sender"] = sender
    return _dump(fields, "call", method)


def encode_event(event: str, payload: Any, dt: float | None, sender: str | None) -> bytes:
    """Write an event; what `encode` makes of one, without the detour over a message.

    Raises:
        SocketMessageMalformed: the payload is what JSON cannot carry.
    """
    fields: dict[str, Any] = {"event": event, "payload": payload, "type": "event"}
    if dt is not None:
        fields["dt"] = round(dt * 1000)
    if sender is not None:
        fields["sender"] = sender
    return _dump(fields, "event", event)


def _dump(fields: dict[str, Any], kind: str, name: str) -> bytes:
    try:
        try:
            return orjson.dumps(fields, default=_plain, option=WRITTEN_BY_US)
        except TypeError as refusal:
            return _write_otherwise(fields, refusal)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SocketMessageMalformed(f"the {kind} {name!r} cannot be sent as JSON: {error}") from error


def _write(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=_plain, option=WRITTEN_BY_US)
    except TypeError as refusal:
        return _write_otherwise(value, refusal)


def _write_otherwise(value: Any, refusal: TypeError) -> bytes:
    """What was refused for keys that are no text, or for half an emoji, is written all the same."""
    if "must be str" in str(refusal):
        return orjson.dumps(value, default=_plain, option=WRITTEN_BY_US | orjson.OPT_NON_STR_KEYS)
    if "surrogates" in str(refusal):
        return json.dumps(value, default=_plain_throughout, separators=(",", ":"), allow_nan=False).encode()
    raise refusal


def _plain(value: Any) -> Any:
    return _fields(value) if isinstance(value, Message) else plain(value)


def _plain_throughout(value: Any) -> Any:
    return _fields(value) if isinstance(value, Message) else plain_throughout(value)


def _word(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _fields(message: Message) -> dict[str, Any]:
    kind = _word(message.type)
    fields: dict[str, Any]
    if isinstance(message, CallMessage):
        fields = {"method": message.method, "payload": message.payload, "type": kind, "id": message.id}
    elif isinstance(message, EventMessage):
        if not isinstance(message.event, str):
            raise TypeError(f"an event is text, not {type(message.event).__name__}")
        fields = {"event": message.event, "payload": message.payload, "type": kind}
    elif isinstance(message, AuthMessage):
        fields = {"type": kind, "stage": _word(message.stage), "payload": message.payload}
    elif kind in ("result", "error"):
        fields = {"id": message.id, "type": kind, "payload": message.payload}
    else:
        fields = {"type": kind, "payload": message.payload}
    if message.id is not None:
        if type(message.id) is not str and not is_id(message.id):
            raise TypeError(f"an id is text or a number, not {type(message.id).__name__}")
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
    """Seconds as a call carries them: 0 for "never", which is also what the reference needs for very long ones."""
    milliseconds = seconds * 1000
    return 0 if milliseconds > MAX_TIMEOUT_MS else max(1, math.ceil(milliseconds))
