"""Django: one connection per process for each entry of ``OWLSOCKET``; the first use connects.

Add ``"owlsocket_sync.contrib.django"`` to ``INSTALLED_APPS``, and configure the server::

    OWLSOCKET = {"default": {"URL": "wss://api.example.com/ws", "TOKEN": "shop.tokens.read"}}

Then, anywhere::

    from owlsocket_sync.contrib.django import client

    client.call("getUserProfile", 123)
    client.notify_on_commit("order.paid", {"order": 7})
"""

from __future__ import annotations

from ...errors import MissingExtra
from ...lazy import eager_exports

try:
    import django  # noqa: F401
except ImportError as error:
    raise MissingExtra(
        "Django is not installed: python -m pip install 'owlsocket-sync[django]'",
        error.name,
    ) from error

from .connections import Client, ClientDoesNotExist, Clients, client, clients, hub
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
    "hub",
    "observe",
    "perform",
]
__dir__ = eager_exports(__name__, __all__)
