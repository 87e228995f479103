"""Handlers that servers and events of many tests share."""

from __future__ import annotations

from helpers import Collector

from owlsocket_sync import Connection, EventMessage
from owlsocket_sync.server import Request


def echo(conn: Connection, request: Request) -> None:
    """Answer `echo` with what came."""
    conn.perform("echo", lambda value=None: value)


def keep_payload(collector: Collector, message: EventMessage) -> None:
    """Keep what an event carries."""
    collector(message.payload)
