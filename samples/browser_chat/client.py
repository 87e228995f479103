"""The chat in a terminal: sends each typed line, and prints messages; ``/who``, ``/where NAME`` and ``/quit``."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections import deque
from typing import Any

from owlsocket_sync import Connection, EventMessage, ResilientError, StateChange, connect

OPEN_SECONDS = 15.0


class Chat:
    """One visitor of the room."""

    def __init__(self, url: str, name: str) -> None:
        self._name = name
        self._key = secrets.token_hex(16)  # identifies this visitor on a new link
        self._here: list[str] = []
        self._shown: deque[str] = deque(maxlen=500)
        self.conn = connect(url, setup=self._register, auth=self._enter, call_timeout=10, wait=False)

    def _register(self, conn: Connection) -> None:
        """Register the handlers, before the first link, so that no event and no call is missed."""
        conn.observe("said", lambda message: self._show(message.payload))
        conn.observe("here", self._set_names)
        conn.on_state(self._print_state)
        conn.perform("title", lambda: "a terminal")

    def _enter(self, conn: Connection) -> None:
        """Join the room, on each new link."""
        joined = conn.call("join", self._name, self._key)
        self._here = joined["here"]
        for line in joined["said"]:
            self._show(line)

    def _show(self, line: dict[str, str]) -> None:
        if line["id"] not in self._shown:
            self._shown.append(line["id"])
            put(f"{line['name']}: {line['text']}")

    def _set_names(self, message: EventMessage) -> None:
        self._here = message.payload

    def _print_state(self, change: StateChange) -> None:
        put(f"[{change.state.value}]", sys.stderr)

    def execute(self, text: str) -> bool:
        """Execute one line of input; return false to quit."""
        command, _, rest = text.strip().partition(" ")
        try:
            if command == "/quit":
                return False
            if command == "/who":
                put("here: " + ", ".join(self._here))
            elif command == "/where":
                put(f"{rest} looks at {self.conn.call('where', rest)}")
            elif command:
                self.conn.call("say", text)
        except ResilientError as error:
            put(f"[{error.plain_message}]", sys.stderr)
        return True


def put(text: str, file: Any = None) -> None:
    """Print text from a peer, with control characters escaped."""
    escaped = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    # One write with its line end: handlers print from other threads, and would print within this line.
    print(f"{escaped}\n", end="", file=file, flush=True)


def main() -> None:
    """Chat until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the WebSocket URL that the server prints: ws://127.0.0.1:8803")
    parser.add_argument("name", help="the name that other visitors see")
    options = parser.parse_args()
    try:
        chat = Chat(options.url, options.name)  # raises where the name is refused before the handlers are registered
        with chat.conn as conn:
            conn.wait_open(OPEN_SECONDS)
            for text in sys.stdin:
                if not chat.execute(text):
                    break
    except KeyboardInterrupt:
        pass
    except ResilientError as error:
        sys.exit(f"cannot chat: {error.plain_message}")


if __name__ == "__main__":
    main()
