"""Views of the shop."""

from __future__ import annotations

import os

from django.db import transaction
from django.http import HttpRequest, JsonResponse

from owlsocket_sync import SocketError
from owlsocket_sync.contrib.django import client

from .models import Order


def double(request: HttpRequest, number: int) -> JsonResponse:
    """Return twice the number, from the server, and the process."""
    try:
        answer = client.call("double", os.getpid(), number)
    except SocketError as error:
        return JsonResponse({"error": str(error)}, status=503)
    return JsonResponse({"process": os.getpid(), "answer": answer})


def put(request: HttpRequest, number: int) -> JsonResponse:
    """Put the number on the server's queue."""
    client.enqueue(number)
    return JsonResponse({"process": os.getpid(), "answer": 2 * number})


def pay(request: HttpRequest, number: int) -> JsonResponse:
    """Pay for an order at the server's price, and notify the server after the commit."""
    with transaction.atomic():
        Order.objects.create(number=number, state="paid")
        client.notify_on_commit("order.paid", {"order": number, "price": client.call("price", number)})
        if "refused" in request.GET:
            transaction.set_rollback(True)
    return JsonResponse({"paid": number})
