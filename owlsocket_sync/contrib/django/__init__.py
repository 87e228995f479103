"""Django: one connection per process for each entry of ``OWLSOCKET``, made when it is first used.

Put ``"owlsocket_sync.contrib.django"`` into ``INSTALLED_APPS``, and say where to connect to::

    OWLSOCKET = {"default": {"URL": "wss://api.example.com/ws", "TOKEN": "shop.tokens.read"}}

Then, anywhere::

    from owlsocket_sync.contrib.django import client

    client.call("getUserProfile", 123)
    client.notify_on_commit("order.paid", {"order": 7})
"""

from __future__ import annotations

from ...errors import SocketInitializationError

try:
    import django  # noqa: F401
except ImportError as error:
    raise SocketInitializationError(
        "this part needs the package Django: python -m pip install 'owlsocket-sync[django]'"
    ) from error

from .connections import Client, ClientDoesNotExist, Clients, client, clients
from .decorators import observe, perform
from .signals import connected, disconnected, event_received

__all__ = [
    "Client",
    "ClientDoesNotExist",
    "Clients",
    "client",
    "clients",
    "connected",
    "disconnected",
    "event_received",
    "observe",
    "perform",
]
