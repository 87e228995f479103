"""The health check of a server: a plain HTTP request, answered with one line of JSON instead of an upgrade."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from ..version import __version__

MAX_LINE = 8192
MAX_HEAD = 16_384
HEAD_END = b"\r\n\r\n"
METHODS = "GET, HEAD, OPTIONS"
"""OPTIONS too: ``option httpchk /health`` of haproxy sends it, if it names no method."""

# RFC 3986, section 3.3; "//host" would be the beginning of an address.
_PATH = re.compile(r"/(?!/)[\w.~!$&'()*+,;=:@%/-]*", re.ASCII)
_LINE = re.compile(rb"(GET|HEAD|OPTIONS) (\S+) HTTP/1\.[01]\r\n")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*\bwebsocket\b", re.IGNORECASE)

_BEGINNINGS = tuple(f"{method} ".encode() for method in METHODS.split(", "))
_LONGEST = max(_BEGINNINGS, key=len)


def check_health(path: object) -> None:
    """Raise `ValueError` unless this is a path for health checks, or ``None``."""
    if path is not None and not (isinstance(path, str) and _PATH.fullmatch(path)):
        raise ValueError(f"health must be a path such as '/health', without a query, or None, not {path!r}")


def _may_begin(head: bytes) -> bool:
    """Return whether a request that begins like this may have one of the methods."""
    return any(head.startswith(begin) or begin.startswith(head) for begin in _BEGINNINGS)


class HealthCheck:
    """Recognizes and answers the health checks of one server.

    Args:
        path: at which it answers.
        is_serving: returns whether the server accepts clients.
        count: returns the number of connections.
    """

    def __init__(self, path: str, is_serving: Callable[[], bool], count: Callable[[], int]) -> None:
        self._path = path
        self._is_serving = is_serving
        self._count = count

    def read_method(self, head: bytearray, receive: Callable[[], bytes]) -> str:
        """Read a request as far as it takes to know whether it is a health check.

        Args:
            head: receives the bytes that were read.
            receive: waits for the next bytes, and returns them; may raise.

        Returns:
            The method of a health check; an empty text for any other request, of which more may follow.
        """
        # By our own eyes: releases of websockets reject HTTP/1.0, and other methods than GET, each at another place.
        while b"\r\n" not in head and len(head) < MAX_LINE:
            head += receive()
            if not _may_begin(bytes(head[: len(_LONGEST)])):  # such as TLS, whose client waits for an answer
                return ""
        line = _LINE.match(head)
        if line is None or not self._is_asked_for(line[2].decode("latin-1")):
            return ""
        while HEAD_END not in head:
            if len(head) >= MAX_HEAD:
                return ""
            head += receive()
        # A WebSocket client may connect at any path, this one included.
        return "" if _UPGRADE.search(head[: head.index(HEAD_END)]) else line[1].decode()

    def _is_asked_for(self, target: str) -> bool:
        try:
            return urlsplit(target).path == self._path
        except ValueError:  # such as "//["
            return False

    def report(self) -> tuple[HTTPStatus, str]:
        """Return the status and the body of the response."""
        serving = self._is_serving()
        facts = {"status": "ok" if serving else "closing", "version": __version__, "connections": self._count()}
        return HTTPStatus.OK if serving else HTTPStatus.SERVICE_UNAVAILABLE, json.dumps(facts) + "\n"
