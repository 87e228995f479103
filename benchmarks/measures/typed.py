"""A result as instances of dataclasses: ten nested items, parsed and converted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import GenericAlias
from typing import Any

import orjson

from owlsocket_sync.protocol.types.interfaces import convert

from ..child import Figures, Turn
from ..clients import OURS
from ..echo_servers import EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale

ITEMS = 10
MANUAL = "by hand"
OURS_FROM_DICT = f"{OURS}, a dataclasses-json class"
FROM_DICT = "dataclasses-json"
CONTESTANTS = {
    MANUAL: "manual",
    OURS: "ours",
    "msgspec": "msgspec",
    "cattrs": "cattrs",
    OURS_FROM_DICT: "ours_from_dict",
    FROM_DICT: "from_dict",
}
COLUMNS = {"item": "for each item, µs", "cpu": "CPU, µs"}


class Kind(str, Enum):
    """The kind of an item."""

    BOOK = "book"
    RECORD = "record"


@dataclass
class Address:
    """A nested object."""

    street: str
    zip: str


@dataclass
class Item:
    """An item with values of several types."""

    id: int
    name: str
    price: float
    tags: list[str]
    address: Address
    kind: Kind
    at: datetime
    note: str | None = None


@dataclass
class Order:
    """The result."""

    id: int
    items: list[Item]


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure a conversion by each contestant; no server takes part."""
    tasks = {
        name: Task("typed:prepare", {"contestant": contestant, "conversions": scale.conversions})
        for name, contestant in CONTESTANTS.items()
    }
    return result_of("A typed result of ten nested items", COLUMNS, run_rounds(tasks, scale.rounds))


def prepare(contestant: str, conversions: int) -> Turn:
    """Prepare the conversion of one contestant."""
    to_order: Callable[[bytes], Any] = globals()[f"_by_{contestant}"]()
    text = _text()
    to_order(text)

    def turn() -> Figures:
        start, began = time.perf_counter(), time.process_time()
        for _ in range(conversions):
            to_order(text)
        seconds, cpu = time.perf_counter() - start, time.process_time() - began
        return {"item": seconds / conversions / ITEMS * 1e6, "cpu": cpu / conversions / ITEMS * 1e6}

    return turn


def _text() -> bytes:
    items = [
        {
            "id": number,
            "name": f"item {number}",
            "price": number + 0.5,
            "tags": ["new", "heavy"],
            "address": {"street": "Main Street", "zip": "12345"},
            "kind": "book",
            "at": "2026-01-02T03:04:05+00:00",
            "note": None,
        }
        for number in range(ITEMS)
    ]
    return orjson.dumps({"id": 7, "items": items})


def _by_manual() -> Callable[[bytes], Order]:
    def to_order(text: bytes) -> Order:
        order = orjson.loads(text)
        items = [
            Item(
                item["id"],
                item["name"],
                item["price"],
                list(item["tags"]),
                Address(item["address"]["street"], item["address"]["zip"]),
                Kind(item["kind"]),
                datetime.fromisoformat(item["at"]),
                item.get("note"),
            )
            for item in order["items"]
        ]
        return Order(order["id"], items)

    return to_order


def _by_ours() -> Callable[[bytes], Order]:
    return lambda text: convert(orjson.loads(text), Order, "the result")


def _by_ours_from_dict() -> Callable[[bytes], Any]:
    order = _class_of_dataclasses_json()
    return lambda text: convert(orjson.loads(text), order, "the result")


def _by_from_dict() -> Callable[[bytes], Any]:
    from_dict = _class_of_dataclasses_json().from_dict
    return lambda text: from_dict(orjson.loads(text))


def _by_msgspec() -> Callable[[bytes], Order]:
    import msgspec

    return lambda text: msgspec.convert(orjson.loads(text), Order)


def _by_cattrs() -> Callable[[bytes], Order]:
    import cattrs

    converter = cattrs.Converter()
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    return lambda text: converter.structure(orjson.loads(text), Order)


def _class_of_dataclasses_json() -> Any:
    from dataclasses import field, make_dataclass

    from dataclasses_json import config, dataclass_json

    def derive(name: str, columns: list[Any]) -> Any:
        return dataclass_json(make_dataclass(name, columns))

    address = derive("JsonAddress", [("street", str), ("zip", str)])
    columns = [("id", int), ("name", str), ("price", float), ("tags", list[str]), ("address", address), ("kind", Kind)]
    # Without a decoder, it reads times from numbers.
    at = field(metadata=config(decoder=datetime.fromisoformat))
    item = derive("JsonItem", [*columns, ("at", datetime, at), ("note", str | None, None)])
    return derive("JsonOrder", [("id", int), ("items", GenericAlias(list, (item,)))])
