"""A chat room for browsers and terminals: serves a page over HTTP, and the WebSocket of the chat."""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from owlsocket_sync import (
    Connection,
    ConnectionState,
    ErrorContext,
    ResilientError,
    StateChange,
    register_error_class,
)
from owlsocket_sync.server import Request, Server, serve

HISTORY_SIZE = 50
MAX_NAME, MAX_TEXT = 20, 500
TITLE_SECONDS = 5.0

logger = logging.getLogger("browser_chat")


@register_error_class
class Refused(ResilientError):
    """The room refuses a request; the message is shown to the user."""

    def __init__(self, message: str) -> None:
        super().__init__("Refused", message)


@dataclass(eq=False)
class Visitor:
    """One connection, with the name of the user after joining."""

    conn: Connection
    name: str = ""
    key: str = ""


class Room:
    """The visitors and the latest messages."""

    server: Server

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._visitors: dict[str, Visitor] = {}
        self._history: deque[dict[str, str]] = deque(maxlen=HISTORY_SIZE)

    def enter(self, conn: Connection, request: Request) -> None:
        """Register the handlers of a new client."""
        visitor = Visitor(conn)
        conn.on_error(report)
        conn.on_state(partial(self._state_changed, visitor))
        conn.perform("join", partial(self.join, visitor))
        conn.perform("say", partial(self.say, visitor))
        conn.perform("where", partial(self.where, visitor))

    def join(self, visitor: Visitor, name: object, key: object) -> dict[str, Any]:
        """Join the room; the same key identifies a visitor who reconnects before the old link is found lost."""
        name, key = checked("a name", name, MAX_NAME), checked("a key", key, MAX_TEXT)
        with self._lock:
            before = self._visitors.get(name)
            if before is not None and not secrets.compare_digest(before.key.encode(), key.encode()):
                raise Refused(f"the name {name} is taken")
            if visitor.name not in ("", name):
                raise Refused(f"you have joined already, as {visitor.name}")
            visitor.name, visitor.key = name, key
            self._visitors[name] = visitor
            here, history = self._broadcast_names(), list(self._history)
        if before is not None and before is not visitor:
            before.conn.close(timeout=0.0)
        return {"here": here, "said": history}

    def say(self, visitor: Visitor, text: object) -> None:
        """Broadcast a message to all visitors, the sender included."""
        if not visitor.name:
            raise Refused("join first")
        message = {"id": secrets.token_hex(8), "name": visitor.name, "text": checked("a message", text, MAX_TEXT)}
        # Append and broadcast under one lock, so that all visitors see the messages in the same order.
        with self._lock:
            self._history.append(message)
            self.server.broadcast("said", message)

    def where(self, visitor: Visitor, name: object) -> object:
        """Return the page title of another visitor: a call in the other direction."""
        with self._lock:
            other = self._visitors.get(str(name))
        if not visitor.name or other is None:
            raise Refused("unknown name")
        return other.conn.call("title", timeout=TITLE_SECONDS)

    def _state_changed(self, visitor: Visitor, change: StateChange) -> None:
        if change.state is not ConnectionState.CLOSED:
            return
        with self._lock:
            if self._visitors.get(visitor.name) is visitor:  # otherwise the visitor has joined again on a new link
                del self._visitors[visitor.name]
                self._broadcast_names()

    def _broadcast_names(self) -> list[str]:
        names = sorted(self._visitors)
        self.server.broadcast("here", names)
        return names


def checked(label: str, value: object, max_length: int) -> str:
    """Return the stripped text; refuse text that is empty or too long."""
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= max_length:
        raise Refused(f"{label} has 1 to {max_length} characters")
    return text


def report(error: Exception, context: ErrorContext) -> None:
    """Log errors of this server; the peer has received every `ResilientError` already."""
    if not isinstance(error, ResilientError):
        logger.error("%s: %s", context, error, exc_info=error)


class Page(BaseHTTPRequestHandler):
    """Serves the files of the page, and the URL of the WebSocket."""

    server: Site
    kinds: ClassVar[dict[str, str]] = {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css",
    }

    def do_GET(self) -> None:
        """Answer with a file, or with the URL of the socket."""
        name = self.path.partition("?")[0].lstrip("/") or "index.html"
        file = Path(__file__).parent / name
        if name == "socket.json":
            self._send("application/json", json.dumps({"url": self.server.socket_url}).encode())
        elif "/" not in name and "\\" not in name and file.suffix in self.kinds and file.is_file():
            self._send(self.kinds[file.suffix], file.read_bytes())
        else:
            self.send_error(404)

    def _send(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        # Defense in depth: even if markup slipped into the page, it could not run code or connect elsewhere.
        policy = f"default-src 'self'; img-src data:; connect-src 'self' {self.server.socket_url}"
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the log line."""


class Site(ThreadingHTTPServer):
    """Serves the page to browsers on this machine."""

    socket_url = ""

    @property
    def url(self) -> str:
        """URL of the page."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def origins(self) -> list[str]:
        """Origins of the page; pages of other sites may not connect."""
        return [self.url, f"http://localhost:{self.server_port}"]


@contextmanager
def chat(port: int = 0, socket_port: int = 0) -> Iterator[tuple[Site, Server]]:
    """Serve the page and its WebSocket during the ``with`` block."""
    room = Room()
    with (
        Site(("127.0.0.1", port), Page) as site,
        serve(room.enter, port=socket_port, origins=site.origins) as room.server,
    ):
        site.socket_url = room.server.url
        threading.Thread(target=site.serve_forever, name="page", daemon=True).start()
        try:
            yield site, room.server
        finally:
            site.shutdown()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8802, help="port of the page (8802); 0 chooses a free port")
    parser.add_argument("--socket-port", type=int, default=8803, help="port of the WebSocket (8803)")
    options = parser.parse_args()
    try:
        with chat(options.port, options.socket_port) as (site, server):
            print(f"open {site.url} in a browser, or: python client.py {server.url} NAME", flush=True)
            server.wait()
    except KeyboardInterrupt:
        print("bye")


if __name__ == "__main__":
    main()
