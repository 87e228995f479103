"""What the shop does for the server."""

from __future__ import annotations

from owlsocket_sync import EventMessage
from owlsocket_sync.contrib.django import client, observe, perform

from .models import Order


@observe("order.paid")
def paid(message: EventMessage) -> None:
    """Note it, and say so."""
    number = message.payload["order"]
    Order.objects.update_or_create(number=number, defaults={"state": "paid"})
    client.notify("order.noted", number)


@perform("countOrders")
def count_orders(state: str) -> int:
    """How many orders are in this state."""
    return int(Order.objects.filter(state=state).count())


@perform("shelf", using="stock")
def shelf(article: str) -> str:
    """Where something lies; only the server of the stock asks."""
    return f"shelf of {article}"
