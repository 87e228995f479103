"""The one view; the first request that needs the connection makes it, and it reconnects by itself."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, JsonResponse

from owlsocket_sync import ResilientError, SocketTimeout
from owlsocket_sync.contrib.django import client


def user(request: HttpRequest, number: int) -> JsonResponse:
    """One user, as the OwlMeans server knows it, and as long as it does not say that it changed."""
    try:
        return JsonResponse(cache.get_or_set(f"user-{number}", lambda: _ask(number)))
    except SocketTimeout:
        return JsonResponse({"error": "the server took too long"}, status=504)
    except ResilientError as error:
        return JsonResponse({"error": error.message}, status=502)


def _ask(number: int) -> dict[str, Any]:
    known: dict[str, Any] = client.call("getUser", number)
    return known
