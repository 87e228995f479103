"""Handlers of this project; the Django integration imports the module by its name."""

from __future__ import annotations

from django.core.cache import cache

from owlsocket_sync import EventMessage
from owlsocket_sync.contrib.django import observe


@observe("user.changed")
def forget(message: EventMessage) -> None:
    """Drop a changed user from the cache."""
    cache.delete(f"user-{message.payload}")
