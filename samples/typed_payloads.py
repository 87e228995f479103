"""Dataclasses, enums, dates and decimals instead of dictionaries, at both ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

from owlsocket_sync import Connection, SocketMessageMalformed, connect
from owlsocket_sync.server import Request, serve


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Item:
    name: str
    price: Decimal
    size: Size = Size.SMALL


@dataclass
class Order:
    number: int
    items: list[Item]
    due: date
    notes: dict[str, str] = field(default_factory=dict)


class Shop(Protocol):
    """The interface that both ends share: names, arguments and results."""

    def order(self, items: list[Item], placed: date) -> Order: ...

    def total(self, order: Order) -> Decimal: ...

    def find(self, number: int) -> Order | None: ...


class OwlShop:
    """The implementation; arguments are converted to the annotated types before each call."""

    def order(self, items: list[Item], placed: date) -> Order:
        return Order(1, items, placed + timedelta(days=3))

    def total(self, order: Order) -> Decimal:
        return sum((item.price for item in order.items), Decimal(0))

    def find(self, number: int) -> Order | None:
        return None


def handler(conn: Connection, request: Request) -> None:
    """Expose the shop, and reply to each request with the items on offer."""
    conn.on_error(lambda error, context: None)
    conn.expose(OwlShop(), prefix="shop.")

    def offers(id: Any, payload: Any) -> bool:
        for item in (Item("lantern", Decimal("15.90")), Item("perch", Decimal("4.10"), Size.LARGE)):
            conn.reply(id, item)
        return True

    conn.acknowledge(offers)


def main() -> None:
    """Order all items on offer."""
    with serve(handler) as server, connect(server.url) as conn:
        items: list[Item] = []
        for item in conn.stream("offers", timeout=5, payload_type=Item):
            print("on offer:", item.name, item.price, item.size.name)
            items.append(item)
            if len(items) == 2:
                break

        shop = conn.proxy(Shop, prefix="shop.")
        order = shop.order(items, date(2024, 2, 27))
        print("due:", order.due, "total:", shop.total(order))
        print("found:", shop.find(7))

        print("without the proxy:", conn.call("shop.total", order, result_type=Decimal))
        try:
            conn.call("shop.order", [{"name": "lantern", "price": "much"}], "2024-02-27")
        except SocketMessageMalformed as error:
            print("refused:", error)


if __name__ == "__main__":
    main()
