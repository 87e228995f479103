"""The chat in a terminal: what is typed is said, what others say printed; ``/who``, ``/where NAME`` and ``/quit``."""

from __future__ import annotations

import argparse
import secrets
import sys
from collections import deque
from typing import Any

from owlsocket_sync import Connection, EventMessage, ResilientError, StateChange, connect

OPEN_SECONDS = 15.0


class Chat:
    """One who is in the room."""

    def __init__(self, url: str, name: str) -> None:
        self._name = name
        self._key = secrets.token_hex(16)  # on a new link the room knows us by it
        self._here: list[str] = []
        self._shown: deque[str] = deque(maxlen=500)
        # Nothing is missed: what we hear is registered before there is a link.
        self.conn = connect(url, auth=self._enter, call_timeout=10, wait=False)
        self.conn.observe("said", lambda message: self._show(message.payload))
        self.conn.observe("here", self._keep_here)
        self.conn.on_state(self._tell_state)
        self.conn.perform("title", lambda: "a terminal")

    def _enter(self, conn: Connection) -> None:
        """On each new link, before anything else."""
        joined = conn.call("join", self._name, self._key)
        self._here = joined["here"]
        for line in joined["said"]:
            self._show(line)

    def _show(self, line: dict[str, str]) -> None:
        if line["id"] not in self._shown:
            self._shown.append(line["id"])
            put(f"{line['name']}: {line['text']}")

    def _keep_here(self, message: EventMessage) -> None:
        self._here = message.payload

    def _tell_state(self, change: StateChange) -> None:
        put(f"[{change.state.value}]", sys.stderr)

    def do(self, typed: str) -> bool:
        """Do what was typed; whether to go on."""
        command, _, rest = typed.strip().partition(" ")
        try:
            if command == "/quit":
                return False
            if command == "/who":
                put("here: " + ", ".join(self._here))
            elif command == "/where":
                put(f"{rest} looks at {self.conn.call('where', rest)}")
            elif command:
                self.conn.call("say", typed)
        except ResilientError as error:
            put(f"[{error.message}]", sys.stderr)
        return True


def put(text: str, file: Any = None) -> None:
    """Print a line of others' making: what could move the cursor or paint the terminal is shown as what it is."""
    print("".join(one if one.isprintable() else repr(one)[1:-1] for one in text), file=file, flush=True)


def main() -> None:
    """Chat until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="the socket, as the server prints it: ws://127.0.0.1:8803")
    parser.add_argument("name", help="what the others shall call you")
    options = parser.parse_args()
    chat = Chat(options.url, options.name)
    with chat.conn as conn:
        try:
            conn.wait_open(OPEN_SECONDS)
            for typed in sys.stdin:
                if not chat.do(typed):
                    break
        except KeyboardInterrupt:
            pass
        except ResilientError as error:
            sys.exit(f"cannot chat: {error.message}")


if __name__ == "__main__":
    main()
