"""The view; the first request makes the connection, and the connection reconnects by itself."""

from __future__ import annotations

import logging
from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, JsonResponse

from owlsocket_sync import ResilientError, SocketTimeout
from owlsocket_sync.contrib.django import client


def user(request: HttpRequest, number: int) -> JsonResponse:
    """Return a user from the OwlMeans server, cached until the server reports a change."""
    try:
        return JsonResponse(cache.get_or_set(f"user-{number}", lambda: _fetch(number)))
    except SocketTimeout as error:
        logging.getLogger(__name__).warning("%s", error)  # why: perhaps no server is running
        return JsonResponse({"error": "the server took too long"}, status=504)
    except ResilientError as error:
        return JsonResponse({"error": error.plain_message}, status=502)


def _fetch(number: int) -> dict[str, Any]:
    found: dict[str, Any] = client.call("getUser", number)
    return found
