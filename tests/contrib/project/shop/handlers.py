"""Handlers of the shop."""

from __future__ import annotations

from owlsocket_sync import EventMessage
from owlsocket_sync.contrib.django import client, observe, perform

from .models import Order


@observe("order.paid")
def paid(message: EventMessage) -> None:
    """Record the payment, and notify the server."""
    number = message.payload["order"]
    Order.objects.update_or_create(number=number, defaults={"state": "paid"})
    client.notify("order.noted", number)


@perform("countOrders")
def count_orders(state: str) -> int:
    """Return the number of orders in a state."""
    return int(Order.objects.filter(state=state).count())


@perform("shelf", using="stock")
def shelf(article: str) -> str:
    """Return the place of an article; called by the server of the stock."""
    return f"shelf of {article}"
