"""Handlers that servers and events of many tests share."""

from __future__ import annotations

from typing import Any, cast

from owlsocket_sync import Connection, EventMessage
from owlsocket_sync.server import Request
from owlsocket_sync.states import CloseInfo
from support.helpers import Collector


def echo(conn: Connection, request: Request) -> None:
    """Answer `echo` with what came."""
    conn.perform("echo", lambda value=None: value)


def keep_payload(collector: Collector, message: EventMessage) -> None:
    """Keep what an event carries."""
    collector(message.payload)


def drop_link(conn: Connection) -> None:
    """Be gone without a word; at the server."""
    cast(Any, conn._core.carrier)._only_link.abort(CloseInfo(1006, "dropped"))
