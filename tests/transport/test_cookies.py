"""Cookies of one connection: kept from an upgrade for the next one, with regard to all that their server said."""

from __future__ import annotations

import pytest

from owlsocket_sync.handshake_fields import ResponseHeaders
from owlsocket_sync.transport.cookies import MAX_COOKIES, StickyCookies
from owlsocket_sync.urls import parse

HERE = "ws://here.example/rooms/1?token=s3cret"


def sent_after(*fields: str, to: str = HERE, headers: dict[str, str] | None = None) -> str | None:
    """The cookies of a request, after a response with these ``Set-Cookie`` fields."""
    cookies = StickyCookies()
    cookies.keep(parse(HERE), response(*fields))
    return cookies.add_to(headers or {}, parse(to)).get("Cookie")


def response(*fields: str) -> ResponseHeaders:
    """A response that sets cookies."""
    return ResponseHeaders(
        "\r\n".join(["HTTP/1.1 101 Go", *(f"Set-Cookie: {each}" for each in fields)]).encode("latin-1")
    )


@pytest.mark.parametrize(
    ("field", "to", "sent"),
    [
        ("srv=b2", HERE, "srv=b2"),
        ("srv=b2; Path=/", "ws://here.example/", "srv=b2"),
        ("srv=b2; Path=/rooms", "ws://here.example/rooms/2", "srv=b2"),
        ("srv=b2; Path=/rooms", "ws://here.example/halls", None),
        ("srv=b2; Path=/", "ws://here.example:8080/", "srv=b2"),
        ("srv=b2; Path=/", "wss://here.example/", "srv=b2"),
        ("srv=b2; Path=/; Secure", "wss://here.example/", "srv=b2"),
        ("srv=b2; Path=/; Secure", "ws://here.example/", None),
        ("srv=b2; Path=/; HttpOnly; SameSite=Lax", HERE, "srv=b2"),
        ("srv=b2; Path=/; Domain=here.example", HERE, "srv=b2"),
        ("srv=b2; Path=/; Domain=here.example", "ws://a.here.example/", None),
        ("srv=b2; Path=/; Domain=there.example", HERE, None),
        ("srv=b2; Path=/", "ws://there.example/", None),
        ("srv=b2; Max-Age=60", HERE, "srv=b2"),
        ("srv=b2; Max-Age=0", HERE, None),
        ("srv=b2; Expires=Thu, 01 Jan 2015 00:00:00 GMT", HERE, None),
        ("srv=b2; Expires=Thu, 01 Jan 2099 00:00:00 GMT", HERE, "srv=b2"),
        ("srv=a\rX-Evil: 1", HERE, None),
        (f"srv={'x' * 5000}", HERE, None),
        ("", HERE, None),
    ],
)
def test_a_cookie_goes_where_its_server_said(field: str, to: str, sent: str | None) -> None:
    """To the same host only, whatever its domain says."""
    assert sent_after(field, to=to) == sent


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:8080/", "ws://localhost/", "ws://[::1]:81/", "wss://[fe80::1%25eth0]/"]
)
def test_hosts_without_a_domain_have_cookies_too(url: str) -> None:
    """As within a cluster, and in tests."""
    cookies = StickyCookies()
    cookies.keep(parse(url), response("srv=b2"))
    assert cookies.add_to({}, parse(url)) == {"Cookie": "srv=b2"}


@pytest.mark.parametrize(
    ("headers", "sent"),
    [
        ({"Cookie": "own=1"}, "own=1; srv=b2"),
        ({"Cookie": "srv=mine; own=1"}, "srv=mine; own=1"),
        ({"X-Other": "1"}, "srv=b2"),
    ],
)
def test_cookies_of_the_user_stay(headers: dict[str, str], sent: str) -> None:
    """Of one name, that of the user wins."""
    assert sent_after("srv=b2", headers=headers) == sent


def test_the_name_of_the_users_header_stays() -> None:
    """Two headers of one name would be one too many."""
    cookies = StickyCookies()
    cookies.keep(parse(HERE), response("srv=b2"))
    assert cookies.add_to({"cookie": "own=1"}, parse(HERE)) == {"cookie": "own=1; srv=b2"}


def test_the_latest_value_replaces_the_one_before() -> None:
    """And a response without cookies changes nothing."""
    cookies = StickyCookies()
    for fields in (["srv=b1", "lb=x"], ["srv=b2"], []):
        cookies.keep(parse(HERE), response(*fields))
    assert cookies.add_to({}, parse(HERE))["Cookie"] in ("srv=b2; lb=x", "lb=x; srv=b2")


def test_another_host_is_a_new_beginning() -> None:
    """Nothing of the first host reaches the second, and it is not kept for a return."""
    cookies = StickyCookies()
    cookies.keep(parse(HERE), response("srv=b2"))
    cookies.keep(parse("ws://there.example"), response("lb=x"))
    assert cookies.add_to({}, parse(HERE)) == {}
    assert cookies.add_to({}, parse("ws://there.example")) == {"Cookie": "lb=x"}


def test_the_number_of_cookies_is_bounded() -> None:
    """A server that sets another one with each link does not make the request grow until it is refused."""
    cookies = StickyCookies()
    for number in range(MAX_COOKIES + 20):
        cookies.keep(parse(HERE), response(f"c{number}=1"))
    sent = cookies.add_to({}, parse(HERE))["Cookie"].split("; ")
    assert len(sent) == MAX_COOKIES
    assert f"c{MAX_COOKIES + 19}=1" in sent
    assert "c0=1" not in sent


def test_values_are_hidden() -> None:
    """In the repr of what a frame holds."""
    cookies = StickyCookies()
    cookies.keep(parse(HERE), response("srv=s3cret"))
    assert "s3cret" not in repr(cookies.add_to({}, parse(HERE)))
    assert "s3cret" not in repr(cookies)
