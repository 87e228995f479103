"""Works on the orders that the Flask app has taken; any number of these may run.

python -m samples.orders.worker [SECONDS]      ends when no order came for so long
"""

from __future__ import annotations

import os
import sys
from typing import Any

from owlsocket_sync.stores import Delivery, Queue, SqliteStore


def deliver(order: dict[str, Any]) -> None:
    """Do the work; an error gives the order back, and after five attempts it is a dead letter."""
    print(f"delivered: {order['count']} x {order['dish']}", flush=True)


def work(orders: Queue, timeout: float | None) -> None:
    """Work on orders, until there was none for ``timeout`` seconds."""
    for message in orders.messages(max_attempts=5, timeout=timeout):
        try:
            deliver(message.payload)
        except KeyError as error:
            refuse(message, f"an order needs the field {error}")
        # The next round acknowledges the message. A worker that is killed before leaves it to another one, at once.


def refuse(message: Delivery, reason: str) -> None:
    """Set an order aside that no attempt will make right: `orders.dead_letters()` has it."""
    print(f"refused: {message.id}: {reason}", flush=True)
    message.reject(reason)


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else None
    with SqliteStore(os.environ.get("ORDERS", "orders.db")) as store:
        work(store.queue("orders"), seconds)
