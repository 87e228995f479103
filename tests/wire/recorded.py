"""The recordings, as values; what a scenario's frames say, and what is better than what the reference said."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import Any

from support.helpers import VECTORS, load

VOLATILE = ("dt", "sender", "timeout")


@dataclass(frozen=True)
class Row:
    """One frame: which way it went, and what it was."""

    way: str
    text: str

    @property
    def binary(self) -> bytes | None:
        """The bytes of a binary frame."""
        return ast.literal_eval(self.text[8:-1]) if self.text.startswith("<binary ") else None

    @property
    def ping(self) -> bytes | None:
        """The payload of a WebSocket ping."""
        return ast.literal_eval(self.text[6:-1]) if self.text.startswith("<ping ") else None

    @property
    def control(self) -> bool:
        """Whether it is a WebSocket pong."""
        return self.text.startswith("<op ")

    @property
    def json(self) -> Any:
        """What it says."""
        return json.loads(self.text)


SCENARIOS: dict[str, list[Row]] = {
    entry["scenario"]: [Row(way, text) for way, text in entry["frames"]]
    for entry in load("transcripts.json")["scenarios"]
}


def recording(name: str) -> list[dict[str, Any]]:
    """The rows of a longer recording."""
    text = (VECTORS / "recordings" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def stable(message: Any) -> Any:
    """A message without what differs from run to run; of an error its type and message, its stack left out."""
    if not isinstance(message, dict):
        return message
    kept = {key: value for key, value in message.items() if key not in VOLATILE}
    if kept.get("type") == "error" and isinstance(kept.get("payload"), str):
        kept["payload"] = "|||".join(kept["payload"].split("|||")[:2])
    if kept.get("type") == "event" and isinstance(kept.get("payload"), dict):
        kept["payload"] = stable(kept["payload"])
    return kept


MALFORMED = "SocketErrorMessageMalformed|||socket:message:malformed:received "

# Where our server does better than the recorded one: what it sends instead, and why.
BETTER: dict[str, tuple[str, list[Any]]] = {
    "call none/undefined": ("null rather than no key", [{"id": "c1", "type": "result", "payload": None}]),
    "call many": (
        "numbers keep their digits",
        [{"id": "c1", "type": "result", "payload": [1, "two", None, True, {"n": {"x": [1, 2]}}, "żółć 🦉",
                                                  9007199254740993, 1.5, -0.0]}],
    ),
    "error plain": ("a type and a message", [{"id": "c1", "type": "error", "payload": "ResilientError|||oops"}]),
    "error empty": ("a type and a message", [{"id": "c1", "type": "error", "payload": "ResilientError|||"}]),
    "typed syntax": ("it is answered", [{"id": "c1", "type": "error", "payload": "ResilientError|||syntax boom"}]),
    "unknown method": (
        "it is answered",
        [
            {"id": "c1", "type": "error",
             "payload": "SocketErrorConnectionUnsupported|||"
                        "socket:connection:unsupported:no handler registered for method 'nope'"},
            {"id": "c2", "type": "result", "payload": "alive"},
        ],
    ),
    "call without id": ("performed, and answered by nothing", []),
    "call without payload": (
        "it is answered",
        [{"id": "c1", "type": "error", "payload": MALFORMED + "a call of 'args' whose payload is not a list of "
          "arguments: '{\"type\":\"call\",\"method\":\"args\",\"id\":\"c1\"}'"}],
    ),
    "call payload object": (
        "it is answered",
        [
            {"id": "c1", "type": "error", "payload": MALFORMED + "a call of 'args' whose payload is not a list of "
             "arguments: '{\"type\":\"call\",\"method\":\"args\",\"id\":\"c1\",\"payload\":{\"a\":1}}'"},
            {"id": "c2", "type": "result", "payload": "alive"},
        ],
    ),
    "notify null payload": (
        "null is a payload",
        [{"event": "server-event", "payload": {"event": "client-event", "payload": None, "type": "event"},
          "type": "event"}],
    ),
    "bare object": (
        "an object without type is a message with itself as payload",
        [{"id": "c1", "type": "result", "payload": [[{"hello": 1}, None, 0]]}],
    ),
    "auth init unsupported": (
        "a refusal says why",
        [{"type": "auth", "stage": None, "payload": "SocketErrorConnectionUnsupported|||"
          "socket:connection:unsupported:no authenticate hook is set here"},
         {"id": "c1", "type": "result", "payload": None}],
    ),
    "server-initiated auth error": (
        "a refusal is an error of authentication",
        [{"type": "auth", "stage": "init", "payload": {"challenge": "abc"}},
         {"id": "c1", "type": "result",
          "payload": {"error": {"type": "AuthError", "message": "auth:refused: x"}}}],
    ),
}  # fmt: skip
for _name in ("auth authenticate token", "auth authenticate bad token"):
    BETTER[_name] = BETTER["auth init unsupported"]
