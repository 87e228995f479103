"""Headers and query parameters of the user's: what is sent, and what is refused by name."""

from __future__ import annotations

import enum
from decimal import Decimal
from typing import Any

import pytest

from owlsocket_sync import ClientOptions
from owlsocket_sync.handshake_fields import USER_AGENT, check_headers

SECRET = "s3cr3t-owl"


class Color(enum.Enum):
    """A value with a name."""

    RED = "red"


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", f"a\r\nY: {SECRET}"), ("X\r\n", "a"), ("", "a"), ("X Y", "a"), ("X", "ż"), ("X", 5), (5, "a")],
)
def test_a_header_with_a_line_break_is_refused(name: str, value: str) -> None:
    """The message names the option and does not show the value."""
    with pytest.raises(ValueError, match="headers") as refused:
        check_headers({name: value})
    assert SECRET not in str(refused.value)


def test_valid_headers_are_returned() -> None:
    """As a new dict."""
    headers = {"X-Owl": "a\tb", "Cookie": "ü"}
    assert check_headers(headers) == headers
    assert check_headers(headers) is not headers


@pytest.mark.parametrize(
    "name", ["Host", "connection", "UPGRADE", "Sec-WebSocket-Key", "sec-websocket-protocol", "Content-Length"]
)
def test_a_header_of_the_handshake_itself_is_refused(name: str) -> None:
    """Sent twice, it would mean something else to each server."""
    with pytest.raises(ValueError, match=f"headers: '{name}' is set by the handshake") as refused:
        ClientOptions(url="ws://h", headers={name: SECRET})
    assert SECRET not in str(refused.value)


def test_a_header_in_two_spellings_is_refused() -> None:
    """Names of headers have no case."""
    with pytest.raises(ValueError, match="'x-owl' is there twice"):
        check_headers({"X-Owl": "1", "x-owl": "2"})


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_a_header_of_the_users_wins_over_the_token(name: str) -> None:
    """Once, and in whatever spelling."""
    options = ClientOptions(url="ws://h", token="t", headers={name: "Bearer mine"})
    assert options._request_headers("t") == {name: "Bearer mine", "User-Agent": USER_AGENT}


@pytest.mark.parametrize("headers", [["X: y"], [("X", "y")], "X: y", 5, {"X": None}, {"X": b"y"}, {5: "y"}])
def test_headers_are_a_mapping_of_texts(headers: Any) -> None:
    """Anything else is refused when the options are made."""
    with pytest.raises(ValueError, match="headers"):
        ClientOptions(url="ws://h", headers=headers)


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ({"a": None, "b": "x"}, "b=x"),
        ({"s": ["x", "y"], "t": ("z",), "u": []}, "s=x&s=y&t=z"),
        ({"s": ["x", None]}, "s=x"),
        ([("s", "x"), ("a", "b"), ("s", "y")], "s=x&a=b&s=y"),
        ((pair for pair in [("a", 1)]), "a=1"),
        ({"n": 1, "f": 0.5, "d": Decimal("1.50"), "t": True, "e": Color.RED}, "n=1&f=0.5&d=1.50&t=true&e=red"),
        ({"q": "x y&=ü"}, "q=x%20y%26%3D%C3%BC"),
        (None, ""),
    ],
)
def test_a_query_is_sent_as_servers_read_it(query: Any, sent: str) -> None:
    """Nothing is left out, lists repeat their key, pairs keep their order; each attempt sends the same."""
    options = ClientOptions(url="ws://h/p", query=query)
    for _ in range(2):
        assert options.target("ws://h/p", None).resource == ("/p?" + sent if sent else "/p")


@pytest.mark.parametrize(
    "query", ["a=1", b"a=1", 5, ["ab", "c"], {"a": b"x"}, {"a": {"b": 1}}, {"a": [["x"]]}, {"a": object()}, {5: "x"}]
)
def test_a_query_without_a_text_form_is_refused(query: Any) -> None:
    """By name, when the options are made."""
    with pytest.raises(ValueError, match="query"):
        ClientOptions(url="ws://h", query=query)
