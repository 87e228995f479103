"""A raw server that plays one client its part of a recording: it sends text, and keeps text."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from support.foreign import close_pipe

SECONDS = 5.0

Script = Callable[["Stage"], None]


class Stage:
    """One client, from the side of the server."""

    def __init__(self, ws: ServerConnection) -> None:
        self._ws = ws

    def send(self, message: Any) -> None:
        """Send a message, or text as it is."""
        self._ws.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    def receive(self) -> Any:
        """The next message of the client."""
        text = self._ws.recv(SECONDS)
        assert isinstance(text, str), "a client never sends binary frames: the reference breaks on them"
        try:
            return json.loads(text)
        except ValueError:
            return text

    def close(self, code: int, reason: str) -> None:
        """Say goodbye."""
        self._ws.close(code, reason)

    def drop(self) -> None:
        """Be gone, without a word."""
        self._ws.close_socket()

    def wait_closed(self) -> int | None:
        """Wait until the client is gone; the code it left with."""
        try:
            while True:
                self._ws.recv(SECONDS)
        except ConnectionClosed:
            return self._ws.close_code


class RawServer:
    """Plays a script to each client that comes; what goes wrong in it is raised at the end."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.failures: list[BaseException] = []
        self.played = threading.Event()
        self._server = serve(self._play, "127.0.0.1", 0, compression=None, ping_interval=None)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/ws"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _play(self, ws: ServerConnection) -> None:
        try:
            self._script(Stage(ws))
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            self.played.set()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(SECONDS)
        close_pipe(self._server)
        if self.failures:
            raise self.failures[0] from error
