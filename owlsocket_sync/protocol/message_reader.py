"""Messages of any kind, read from parsed JSON: unusual fields are ignored, invalid ones refused.

`codec.decode` decodes the most frequent messages itself, without this module.
"""

from __future__ import annotations

import math
from typing import Any

from ..states import AuthenticationStage
from ..values import safe_repr
from .json_parser import MAX_DEPTH, deeper_than
from .malformed import malformed
from .messages import AuthMessage, CallMessage, EventMessage, Message, MessageType, is_id, is_number

# The reference passes the timeout to setTimeout(), whose delay is a signed 32-bit number.
MAX_TIMEOUT_MS = 2_147_483_647

TYPES: dict[str, MessageType] = {kind.value: kind for kind in MessageType}

_CommonFields = tuple[Any, Any, Any, Any, str]


def read_message(value: Any, text: str, depth: int, ignored: list[str]) -> Message:
    """Return the message that a list or an object is.

    Args:
        value: the parsed text.
        text: what was received.
        depth: the nesting that is accepted.
        ignored: takes the names of fields that have an unexpected type and are read as absent.

    Raises:
        SocketMessageMalformed: a field is invalid, or the value is nested too deep.
    """
    if depth < MAX_DEPTH and deeper_than(value, depth):
        fields = value if isinstance(value, dict) else None
        raise malformed(f"JSON nested deeper than {depth} levels (Limits.json_depth)", text, fields)
    # The reference takes an array for a payload, even an array of calls: the wire has no batches.
    if isinstance(value, list):
        return Message(payload=value, raw=text)
    kind = value.get("type")
    if kind is None:
        return _untyped(value, text, ignored)
    return _typed(kind, value, text, ignored)


def _untyped(value: dict[str, Any], text: str, ignored: list[str]) -> Message:
    """Return an object without a type as a message, with itself as the payload where it has none."""
    common = common_fields(value, text, ignored)
    return Message(MessageType.MESSAGE, value.get("payload", value), *common)


def _typed(kind: Any, value: dict[str, Any], text: str, ignored: list[str]) -> Message:
    if not isinstance(kind, str):
        raise malformed(f"a message whose type is not a string but {safe_repr(kind)}", text, value)
    common = common_fields(value, text, ignored)
    payload = value.get("payload")
    if kind == "call":
        return _call(value, payload, common, text, ignored)
    if kind == "event" or (kind == "system" and "event" in value):
        event = value.get("event")
        if not isinstance(event, str):
            article = "an" if kind == "event" else "a"
            raise malformed(f"{article} {kind} message whose event is not a string but {safe_repr(event)}", text, value)
        return EventMessage(MessageType(kind), payload, *common, event=event)
    if kind == "auth":
        stage = value.get("stage")
        if stage is not None and not isinstance(stage, str):
            raise malformed(f"an auth message whose stage is not a string but {safe_repr(stage)}", text, value)
        # An empty stage is a refusal, as null is: the reference tests it for truth.
        parsed = AuthenticationStage.parse(stage) if stage else None
        return AuthMessage(MessageType.AUTH, payload, *common, stage=parsed)
    # Answering or dispatching one without an id would end a reference peer's process.
    if kind in ("result", "error", "request", "response") and common[0] is None:
        raise malformed(f"a {kind} without an id", text, value)
    # An unknown type stays text: a newer peer may send it, and listeners receive it.
    return Message(TYPES.get(kind, kind), payload, *common)


def _call(value: dict[str, Any], payload: Any, common: _CommonFields, text: str, ignored: list[str]) -> CallMessage:
    method, timeout = value.get("method"), value.get("timeout")
    if not isinstance(method, str):
        raise malformed(f"a call whose method is not a string but {safe_repr(method)}", text, value)
    if not isinstance(payload, list):
        raise malformed(f"a call of {method!r} whose payload is not a list of arguments", text, value)
    if timeout is not None and not is_number(timeout):
        ignored.append("timeout")
        timeout = None
    return CallMessage(
        MessageType.CALL, payload, *common, method, None if timeout is None else timeout_seconds(timeout)
    )


def timeout_seconds(timeout: float) -> float:
    """Return the timeout of a call in seconds, from the milliseconds of the wire."""
    # Outside of this range the reference means "never": 0 says so, anything else overflows its timer.
    return timeout / 1000 if 0 < timeout <= MAX_TIMEOUT_MS else math.inf


def common_fields(value: dict[str, Any], text: str, ignored: list[str]) -> _CommonFields:
    """Return the fields that every message may have, in the order of the fields of `Message`."""
    id, sender, recipient, dt = value.get("id"), value.get("sender"), value.get("recipient"), value.get("dt")
    if id is not None and not is_id(id):
        raise malformed(f"an id that is neither a string nor a number but {safe_repr(id)}", text, value)
    # Nothing depends on these: a good payload must not be lost for them. The reference may name a sender by a number.
    if sender is not None and not is_id(sender):
        sender = _ignore("sender", ignored)
    if recipient is not None and not is_id(recipient):
        recipient = _ignore("recipient", ignored)
    if dt is not None and not is_number(dt):
        dt = _ignore("dt", ignored)
    return id, sender, recipient, None if dt is None else dt / 1000, text


def _ignore(name: str, ignored: list[str]) -> None:
    ignored.append(name)
