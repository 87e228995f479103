"""Addresses: what can be used is used as it is, what cannot is refused, and no secret is ever shown."""

from __future__ import annotations

import pytest

from owlsocket_sync.urls import bare_token, check_headers, parse, redact, redact_text, whole_token

SECRET = "s3cr3t-owl"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://h", ("ws", "h", 80, "/", "h")),
        ("wss://h/p?q=1", ("wss", "h", 443, "/p?q=1", "h")),
        ("wss://h:80/p", ("wss", "h", 80, "/p", "h:80")),
        ("ws://[::1]:8080/x", ("ws", "::1", 8080, "/x", "[::1]:8080")),
        ("ws://żółw.example/ź", ("ws", "xn--w-uga1v8h.example", 80, "/%C5%BA", "xn--w-uga1v8h.example")),
        ("WSS://H/P", ("wss", "h", 443, "/P", "h")),
        ("wss://[2001:db8::1]/", ("wss", "2001:db8::1", 443, "/", "[2001:db8::1]")),
        ("ws://h?q=%20", ("ws", "h", 80, "/?q=%20", "h")),
        ("ws://h/p#part", ("ws", "h", 80, "/p", "h")),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: tuple[str, str, int, str, str]) -> None:
    """Scheme, host, port, resource, and what the Host header says."""
    target = parse(url)
    assert (target.scheme, target.host, target.port, target.resource, target.host_header) == expected


def test_query_and_token_are_added() -> None:
    """Behind what the URL has already, percent-encoded."""
    assert parse("ws://h/p?a=1", {"b": "x y&"}, token="t+/=").resource == "/p?a=1&b=x%20y%26&token=t%2B%2F%3D"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "must start with ws:// or wss://"),
        ("h:80", "must start with ws:// or wss://"),
        ("ws://", "name a host"),
        ("ws://h:99999", "cannot be read"),
        ("ws://h:0", "port 0"),
        ("ws://h/\r\nX: y", "control characters"),
        ("ws://h/a b", "control characters"),
        (f"ws://user:{SECRET}@h", "user name"),
        (f"ws://h:x/?token={SECRET}", "cannot be read"),
        (f"ftp://h/?token={SECRET}", "must start with"),
        (f"ws://h/ ?token={SECRET}", "control characters"),
        (f"ws://h/?a=1&\ttoken={SECRET}", "control characters"),
        (f"ws://h/?token\x00={SECRET}", "control characters"),
        (f"ws://user:{SECRET}/word@h", "cannot be read"),
        (f"ws://user:{SECRET}#word@h", "cannot be read"),
        (f"ws://user:{SECRET}@h\u2100/", "cannot be read"),
        (f"ws://user:{SECRET}@[bad/", "cannot be read"),
        (f"ws://{'ż' * 70}.x/?token={SECRET}", "cannot be written in ASCII"),
        ("//h/p", "must start with ws:// or wss://, not with no scheme at all"),
        ("ws:///p", "name a host"),
        ("ws://h:-1/", "cannot be read"),
        ("ws://h\x7f/", "control characters"),
        ("ws://b\u00b8h/", "a space"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str, words: str) -> None:
    """The message says why."""
    with pytest.raises(ValueError, match=words) as refused:
        parse(url)
    assert SECRET not in str(refused.value)


def test_only_text_is_a_url() -> None:
    """A number is told what it should be."""
    with pytest.raises(ValueError, match="url must be text"):
        parse(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"wss://h/p?token={SECRET}&a=1", "wss://h/p?token=***&a=1"),
        (f"wss://u:{SECRET}@h/p", "wss://***@h/p"),
        (f"wss://h/?Password={SECRET}", "wss://h/?Password=***"),
        ("wss://h/p?a=1", "wss://h/p?a=1"),
        ("ws://[bad", "***"),
        (f"ws://u:{SECRET}/word@h", "***"),
        (f"wss://h/?%74oken={SECRET}", "wss://h/?token=***"),
        (f"wss://h/?token={SECRET}&token={SECRET}x", "wss://h/?token=***&token=***"),
        (f"wss://h/p#token={SECRET}", "wss://h/p"),
        (f"wss://{SECRET}@h/", "wss://***@h/"),
    ],
)
def test_what_is_shown_holds_no_secret(url: str, shown: str) -> None:
    """Tokens and passwords become ``***``."""
    assert redact(url) == shown
    assert SECRET not in repr(parse("ws://h", token=SECRET))


def test_text_is_cleared_of_secrets() -> None:
    """Whatever form they have in it."""
    text = f"GET /?token=a%2Bb a+b Authorization: ED25519-BASIC-TOKEN {SECRET}"
    assert redact_text("GET /?token=a%2Fb%2Bc", "a/b+c") == "GET /?token=***"
    assert redact_text("Bearer abc Basic dXNlcg==", "") == "Bearer *** Basic ***"
    assert redact_text(text, "a+b", None) == "GET /?token=*** *** Authorization: ED25519-BASIC-TOKEN ***"


def test_a_token_travels_bare_and_whole() -> None:
    """With or without its scheme, both forms can be made of it."""
    for token in ("abc", "ED25519-BASIC-TOKEN abc", " ed25519-basic-token  abc "):
        assert bare_token(token) == "abc"
        assert whole_token(token) == "ED25519-BASIC-TOKEN abc"


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", f"a\r\nY: {SECRET}"), ("X\r\n", "a"), ("", "a"), ("X Y", "a"), ("X", "ż"), ("X", 5), (5, "a")],
)
def test_a_header_that_would_break_out_is_refused(name: str, value: str) -> None:
    """The option is named, the value is not shown."""
    with pytest.raises(ValueError, match="headers") as refused:
        check_headers({name: value})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("app.localhost", True), ("127.3.2.1", True), ("[::1]", True), ("10.0.0.1", False)],
)
def test_this_machine_is_known(host: str, loopback: bool) -> None:
    """Tokens may travel in the clear to it."""
    assert parse(f"ws://{host}/").loopback is loopback


@pytest.mark.parametrize("url", ["ws://h/", "wss://h:8443/p?q=1", "ws://[::1]:8080/x"])
def test_a_target_can_be_put_together_again(url: str) -> None:
    """The parts lose nothing."""
    assert parse(url).url == url
    assert parse(url).secure is url.startswith("wss")


def test_headers_that_can_travel_come_back() -> None:
    """As a dict of their own."""
    headers = {"X-Owl": "a\tb", "Cookie": "ü"}
    assert check_headers(headers) == headers
    assert check_headers(headers) is not headers


@pytest.mark.parametrize(
    "url", ["ws:/u:%s@host/x", "u:%s@host", "ws:u:%s@host", "ws:\\u:%s@host", "wss:///u:%s@host?a=1"]
)
def test_a_password_without_its_slashes_is_one_still(url: str) -> None:
    """A slip in the beginning of the URL does not show it."""
    with pytest.raises(ValueError) as caught:
        parse(url % "hunter2")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in redact(url % "hunter2")


@pytest.mark.parametrize(
    ("url", "query", "token"),
    [
        ("ws://host/\ud800", None, None),
        ("ws://host/?token=hunter2&\udc9f", None, None),
        ("ws://\ud800.example/", None, None),
        ("ws://host/", {"a": "\ud800"}, None),
        ("ws://host/", {"\ud800": "a"}, None),
        ("ws://host/", None, "hunter2\ud800"),
    ],
)
def test_half_a_character_is_refused_in_words_of_ours(
    url: str, query: dict[str, str] | None, token: str | None
) -> None:
    """The error of the codec would carry what it could not write, secrets included."""
    with pytest.raises(ValueError, match="half a surrogate pair") as caught:
        parse(url, query, token)
    assert type(caught.value) is ValueError
    assert "hunter2" not in str(caught.value)
    assert isinstance(redact(url), str)
