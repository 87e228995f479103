"""The one view, and the connection that all threads of this process share."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock

from django.conf import settings
from django.http import HttpRequest, JsonResponse

from owlsocket_sync import Connection, ResilientError, SocketTimeout, connect

_connecting = Lock()


@lru_cache(maxsize=1)
def _connect() -> Connection:
    return connect(settings.OWLSOCKET_URL, call_timeout=5)


def connection() -> Connection:
    """The connection, made by the first request that needs it; it reconnects by itself."""
    with _connecting:
        return _connect()


def user(request: HttpRequest, number: int) -> JsonResponse:
    """One user, as the OwlMeans server knows it."""
    try:
        return JsonResponse(connection().call("getUser", number))
    except SocketTimeout:
        return JsonResponse({"error": "the server took too long"}, status=504)
    except ResilientError as error:
        return JsonResponse({"error": error.message}, status=502)
