"""The chat room of `server.py` on several processes: a Flask app for gunicorn, whose workers are one room by a hub.

gunicorn -w 4 --threads 50 samples.browser_chat.workers:app
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request, send_from_directory

from owlsocket_sync import Connection, SocketConnectionError
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.hub import PresenceChange, open_hub
from owlsocket_sync.server import Request

from .server import MAX_NAME, MAX_TEXT, TITLE_SECONDS, Refused, checked

ROOM = "chat"
FILES = Path(__file__).parent

# A file for the workers of one machine, or redis://… for those of several.
hub = open_hub(os.environ.get("CHAT_HUB", "chat_hub.db"))
owl = OwlSocket()
app = Flask(__name__, static_folder=None)


@app.get("/")
@app.get("/<any('chat.js', 'chat.css', 'peer.js'):name>")
def page(name: str = "index.html") -> Response:
    """Serve the files of the page."""
    response = send_from_directory(FILES, name)
    response.headers["Content-Security-Policy"] = (
        f"default-src 'self'; img-src data:; connect-src 'self' {socket_url()}"
    )
    return response


@app.get("/socket.json")
def socket() -> Response:
    """Answer with the URL of the socket."""
    return jsonify(url=socket_url())


def socket_url() -> str:
    """Return the URL of the socket, under the name by which the browser knows this server."""
    return request.host_url.replace("http", "ws", 1) + "ws"


@owl.accept("/ws", hub=hub)
def enter(conn: Connection, request: Request) -> None:
    """Register the handlers of a new client."""
    joined: list[str] = []

    def join(name: object, key: object) -> dict[str, Any]:
        name, key = checked("a name", name, MAX_NAME), digest(checked("a key", key, MAX_TEXT))
        # First the own entry, then a look at the others: so of two who come at once, one at least sees the other.
        conn.join(ROOM, {"name": name, "key": key})
        others = [member for member in hub.members(ROOM) if member.info["name"] == name and member.id != conn.id]
        if not all(secrets.compare_digest(other.info["key"], key) for other in others):
            conn.leave(ROOM)
            raise Refused(f"the name {name} is taken")
        for other in others:  # the same visitor, on a link that is not found lost yet
            with suppress(SocketConnectionError):  # it has ended meanwhile, or its worker has
                hub.disconnect(other.id)
        joined[:] = [name]
        return {"here": names(), "said": []}  # a hub keeps no history

    def say(text: object) -> None:
        if not joined:
            raise Refused("join first")
        message = {"id": secrets.token_hex(8), "name": joined[0], "text": checked("a message", text, MAX_TEXT)}
        hub.publish("said", message, room=ROOM)

    def where(name: object) -> object:
        """Return the title of another visitor's page, whichever worker has the link to it."""
        for member in hub.members(ROOM) if joined else ():
            if member.info["name"] == name:
                return hub.call(member.id, "title", timeout=TITLE_SECONDS)
        raise Refused("unknown name")

    conn.perform("join", join)
    conn.perform("say", say)
    conn.perform("where", where)


def digest(key: str) -> str:
    """Return what the room keeps of a visitor's key: all may see the info of a member, and none may come in with it."""
    return hashlib.sha256(key.encode()).hexdigest()


def names() -> list[str]:
    """Return the names of all who are in the room, on all workers."""
    return sorted({member.info["name"] for member in hub.members(ROOM)})


def show_names(change: PresenceChange) -> None:
    """Send the names to the clients of this worker, after each change; each worker does so with its own."""
    here = names()
    with app.app_context():
        for conn in owl.clients("/ws").connections:
            try:
                conn.notify("here", here)
            except SocketConnectionError:
                pass  # it has just ended


owl.init_app(app)
hub.on_presence(show_names)
