"""The error of a payload that is not JSON names the place of the value, however deep it lies."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pytest

from owlsocket_sync import SocketMessageMalformed
from owlsocket_sync.protocol.json_places import MAX_VALUES, refusal_text
from owlsocket_sync.protocol.types.jsonable import to_jsonable
from support.pair import make_pair


class Price:
    """A value that JSON does not know."""


class Frame:
    """A value that can be converted by a method of its own, as those of pandas."""

    def to_dict(self) -> dict[str, int]:
        """Return what can be sent."""
        return {"a": 1}


@dataclass
class Order:
    """A dataclass, whose fields are sent."""

    price: Any


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"rows": [1, 2, 3, {"price": Price()}]}, "payload['rows'][3]['price']"),
        ([(1, Price())], "payload[0][1]"),
        ({1: {None: Price()}}, "payload[1][None]"),
        (Price(), "payload"),
        ({"order": Order(Price())}, "payload['order']"),
        ({"a": datetime.datetime(2030, 1, 1), "b": {Price()}}, "payload['b']"),
        ([2**70, "\ud800", {"a": Price()}], "payload[2]['a']"),
    ],
)
def test_an_event_names_the_place(payload: Any, place: str) -> None:
    """From the payload inwards."""
    left, *_ = make_pair()
    with pytest.raises(SocketMessageMalformed) as caught:
        left.notify("news", payload)
    assert str(caught.value).startswith("the event 'news' cannot be sent as JSON: ")
    assert str(caught.value).endswith(f"(at {place})")


def test_a_call_names_the_argument() -> None:
    """By its number, from 0."""
    left, *_ = make_pair()
    with pytest.raises(SocketMessageMalformed, match=r"Type is not JSON.*\(at payload\[1\]\['price'\]\)"):
        left.call("order", 1, {"price": Price()})
    with pytest.raises(SocketMessageMalformed, match=r"\(at payload\['price'\]\)"):
        left.enqueue({"price": Price()})
    with pytest.raises(
        SocketMessageMalformed, match=r"\(at payload\[0\]; to_dict\(\) of it may give what can be sent\)"
    ):
        left.call("order", Frame())


def test_a_result_is_called_so() -> None:
    """The author of the handler and the caller both read it."""
    left, right, *_ = make_pair()
    right.on_error(lambda error, context: None)
    right.perform("thing", lambda: {"rows": [Price()]})
    with pytest.raises(SocketMessageMalformed, match=r"the result of 'thing' cannot.*\(at result\['rows'\]\[0\]\)"):
        left.call("thing")


def test_what_is_not_about_a_value_has_no_place() -> None:
    """Such as two keys of one text."""
    left, *_ = make_pair()
    with pytest.raises(SocketMessageMalformed) as caught:
        left.notify("news", {1: "a", "1": "b"})
    assert "(at" not in str(caught.value)


def test_the_search_is_bounded() -> None:
    """In the number of values, and not by the stack."""
    deep: Any = Price()
    for _ in range(5000):
        deep = [deep]
    assert refusal_text(TypeError("no"), deep, to_jsonable).startswith("no (at payload[0][0]")
    assert refusal_text(TypeError("no"), [*[1] * (MAX_VALUES + 1), Price()], to_jsonable) == "no"
