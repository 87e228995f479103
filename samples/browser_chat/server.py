"""A chat room for browsers and terminals: serves a page over HTTP, and beside it the socket that its people talk on."""

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

REMEMBERED = 50
LONGEST_NAME, LONGEST_TEXT = 20, 500
TITLE_SECONDS = 5.0

logger = logging.getLogger("browser_chat")


@register_error_class
class Refused(ResilientError):
    """Somebody asked for what the room does not do; the message is for them to read."""

    def __init__(self, message: str) -> None:
        super().__init__("Refused", message)


@dataclass(eq=False)
class Visitor:
    """One link, and who it is once they have joined."""

    conn: Connection
    name: str = ""
    key: str = ""


class Room:
    """Who is here, and what was said last."""

    server: Server

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._visitors: dict[str, Visitor] = {}
        self._said: deque[dict[str, str]] = deque(maxlen=REMEMBERED)

    def enter(self, conn: Connection, request: Request) -> None:
        """Called for each client that connects."""
        visitor = Visitor(conn)
        conn.on_error(report)
        conn.on_state(partial(self._moved, visitor))
        conn.perform("join", partial(self.join, visitor))
        conn.perform("say", partial(self.say, visitor))
        conn.perform("where", partial(self.where, visitor))

    def join(self, visitor: Visitor, name: object, key: object) -> dict[str, Any]:
        """Come in; who has the same key is the same one, come back before we saw that they had left."""
        name, key = checked("a name", name, LONGEST_NAME), checked("a key", key, LONGEST_TEXT)
        with self._lock:
            before = self._visitors.get(name)
            if before is not None and not secrets.compare_digest(before.key.encode(), key.encode()):
                raise Refused(f"somebody called {name} is here already")
            if visitor.name not in ("", name):
                raise Refused(f"you are here already, as {visitor.name}")
            visitor.name, visitor.key = name, key
            self._visitors[name] = visitor
            here, said = self._tell_here(), list(self._said)
        if before is not None and before is not visitor:
            before.conn.close(timeout=0.0)
        return {"here": here, "said": said}

    def say(self, visitor: Visitor, text: object) -> None:
        """Tell everybody, whoever said it included."""
        if not visitor.name:
            raise Refused("join first")
        said = {"id": secrets.token_hex(8), "name": visitor.name, "text": checked("a message", text, LONGEST_TEXT)}
        with self._lock:  # everybody hears it in the same order
            self._said.append(said)
            self.server.broadcast("said", said)

    def where(self, visitor: Visitor, name: object) -> object:
        """Ask somebody for the title of what they look at: a call in the other direction."""
        with self._lock:
            asked = self._visitors.get(str(name))
        if not visitor.name or asked is None:
            raise Refused("nobody of that name is here")
        return asked.conn.call("title", timeout=TITLE_SECONDS)

    def _moved(self, visitor: Visitor, change: StateChange) -> None:
        if change.state is not ConnectionState.CLOSED:
            return
        with self._lock:
            if self._visitors.get(visitor.name) is visitor:  # else they are here on another link
                del self._visitors[visitor.name]
                self._tell_here()

    def _tell_here(self) -> list[str]:
        names = sorted(self._visitors)
        self.server.broadcast("here", names)
        return names


def checked(what: str, value: object, longest: int) -> str:
    """Text that is neither empty nor too long."""
    text = value.strip() if isinstance(value, str) else ""
    if not 0 < len(text) <= longest:
        raise Refused(f"{what} has 1 to {longest} characters")
    return text


def report(error: Exception, context: ErrorContext) -> None:
    """Log what went wrong on our side; whoever was refused, or asked whom did not answer, knows already."""
    if not isinstance(error, ResilientError):
        logger.error("%s: %s", context, error, exc_info=error)


class Page(BaseHTTPRequestHandler):
    """The files of this folder that belong to the page, and where the socket is."""

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
        # Were markup ever to slip into the page, it could still run nothing and connect nowhere else.
        policy = f"default-src 'self'; img-src data:; connect-src 'self' {self.server.socket_url}"
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Site(ThreadingHTTPServer):
    """Serves the page to browsers on this machine."""

    socket_url = ""

    @property
    def url(self) -> str:
        """What to open."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def origins(self) -> list[str]:
        """What browsers call this site; pages of no other may talk to our socket."""
        return [self.url, f"http://localhost:{self.server_port}"]


@contextmanager
def chat(port: int = 0, socket_port: int = 0) -> Iterator[tuple[Site, Server]]:
    """The page and its socket, for as long as the ``with`` block runs."""
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
    parser.add_argument("--port", type=int, default=8802, help="where the page is (8802); 0 takes a free one")
    parser.add_argument("--socket-port", type=int, default=8803, help="where the socket is (8803)")
    options = parser.parse_args()
    try:
        with chat(options.port, options.socket_port) as (site, server):
            print(f"open {site.url} in a browser, or: python client.py {server.url} NAME", flush=True)
            server.wait()
    except KeyboardInterrupt:
        print("bye")


if __name__ == "__main__":
    main()
