"""Checks of the queues and the hub of an entry before they are opened: of their URLs, and of where these lead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ...errors import SocketError
from ...hub.urls import parse_hub
from ...places import Place
from ...stores.urls import StorePlace, as_queue, parse_queue
from ..hub_setting import as_hub
from ..queue_pair import one_queue_error
from .references import resolve

HUB, INBOX, OUTBOX = "HUB", "INBOX", "OUTBOX"
KEYS = (INBOX, OUTBOX, HUB)


def place_errors(entry: Mapping[str, Any], setting: Callable[[str], str]) -> Iterator[str]:
    """Yield the errors of the queues and the hub of an entry; opens none, and calls no callable.

    Args:
        entry: of ``OWLSOCKET``.
        setting: returns the name of a key in it, for errors.
    """
    found: dict[str, Any] = {}
    for key in KEYS:
        if entry.get(key) is not None:
            try:
                found[key] = _read(key, entry[key], setting(key))
            except ImproperlyConfigured as error:
                yield str(error)
            except ValueError as error:
                yield f"{setting(key)} is invalid: {error}"
    inbox, outbox, hub = (found.get(key) for key in KEYS)
    if isinstance(inbox, StorePlace) and isinstance(outbox, StorePlace):
        if (inbox.key, inbox.queue) == (outbox.key, outbox.queue):
            yield f"{setting(OUTBOX)} and {setting(INBOX)} are one queue, {inbox.queue!r}: use two queues"
    elif not isinstance(inbox, StorePlace) and not isinstance(outbox, StorePlace):
        error_text = one_queue_error(inbox, outbox, setting(INBOX), setting(OUTBOX))
        if error_text is not None:
            yield f"{error_text}: use two queues"
    for key, place in found.items():
        if isinstance(hub, Place) and not hub.is_redis and isinstance(place, StorePlace) and place.where == hub.where:
            yield f"{setting(HUB)} and {setting(key)} are one file, {hub.where}: a hub needs a file of its own"


def _read(key: str, value: Any, setting: str) -> Any:
    """Return the place of a URL; the queue or the hub itself; ``None`` for a callable."""
    value = resolve(value, setting)
    if isinstance(value, str):
        return parse_hub(value) if key == HUB else parse_queue(value)
    if callable(value):
        return None  # called at the first use: it may open what it returns
    return as_hub(value) if key == HUB else as_queue(value)


def places(entry: Mapping[str, Any]) -> Iterator[tuple[str, Place]]:
    """Yield the places of an entry that are named by valid URLs, by key."""
    for key in KEYS:
        with suppress(ImproperlyConfigured, ValueError):  # reported by place_errors()
            found = _read(key, entry.get(key), key)
            if isinstance(found, Place):
                yield key, found


def folder_error(place: Place) -> str | None:
    """Return what is wrong with the folder of a file; ``None`` for nothing, and for a Redis."""
    folder = os.path.dirname(place.where)
    if place.is_redis:
        return None
    if os.path.isdir(place.where):
        return f"{place.where} is a folder, not a file"
    # No look at the rights of the folder: the checks may run as another user than the project.
    return None if os.path.isdir(folder) else f"{folder} is not a folder"


def redis_error(place: Place) -> str | None:
    """Return why the client of Redis does not take a URL; connects nothing."""
    if not place.is_redis:
        return None
    try:
        from ...hub.redis_commands import HubLink  # needs the extra `redis`

        # Made, and not connected: so it takes its options.
        HubLink(place.where, "check")
    except (ValueError, SocketError) as error:
        return str(error)
    return None
