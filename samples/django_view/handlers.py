"""What this project does when the server speaks; Django finds it by its name."""

from __future__ import annotations

from django.core.cache import cache

from owlsocket_sync import EventMessage
from owlsocket_sync.contrib.django import observe


@observe("user.changed")
def forget(message: EventMessage) -> None:
    """Ask anew for a user that changed."""
    cache.delete(f"user-{message.payload}")
