"""URLs, tokens and headers: valid ones are parsed, others are refused, and no secret is ever shown."""

from __future__ import annotations

import pytest

from owlsocket_sync.urls import parse, redact, redact_text, strip_token_scheme, with_token_scheme

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
def test_a_url_is_parsed(url: str, expected: tuple[str, str, int, str, str]) -> None:
    """Into scheme, host, port, resource and Host header."""
    target = parse(url)
    assert (target.scheme, target.host, target.port, target.resource, target.host_header) == expected


@pytest.mark.parametrize("zone", ["%25eth0", "%eth0", "%251"])
def test_a_zone_of_an_ipv6_address_stays_on_this_machine(zone: str) -> None:
    """The system needs it to connect; neither the server nor a proxy gets it (RFC 6874)."""
    target = parse(f"wss://[fe80::1{zone}]:8443/x")
    name = zone.removeprefix("%25").removeprefix("%")
    assert (target.host, target.server_name) == (f"fe80::1%{name}", "fe80::1")
    assert target.host_header == "[fe80::1]:8443"
    assert target.url == f"wss://[fe80::1%25{name}]:8443/x"
    assert parse(target.url) == target
    assert parse("ws://[::1%25lo]/").loopback


def test_query_and_token_are_added() -> None:
    """After the query of the URL, percent-encoded."""
    assert parse("ws://h/p?a=1", {"b": "x y&"}, token="t+/=").resource == "/p?a=1&b=x%20y%26&token=t%2B%2F%3D"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "must start with ws:// or wss://"),
        ("h:80", "must start with ws:// or wss://"),
        ("ws://", "have a host"),
        ("ws://h.example:99999", "url 'ws://h.example:99999' has a port out of range"),
        (f"wss://h:99999/?token={SECRET}", "url 'wss://h:99999' has a port out of range"),
        (f"ws://user:99999/{SECRET}@h", "url .* cannot be parsed"),
        ("ws://h:0", "port 0"),
        ("ws://h/\r\nX: y", "control characters"),
        ("ws://h/a b", "control characters"),
        (f"ws://user:{SECRET}@h", "user name"),
        (f"ws://h:x/?token={SECRET}", "cannot be parsed"),
        (f"ftp://h/?token={SECRET}", "must start with"),
        (f"ws://h/ ?token={SECRET}", "control characters"),
        (f"ws://h/?a=1&\ttoken={SECRET}", "control characters"),
        (f"ws://h/?token\x00={SECRET}", "control characters"),
        (f"ws://user:{SECRET}/word@h", "cannot be parsed"),
        (f"ws://user:{SECRET}#word@h", "cannot be parsed"),
        (f"ws://user:{SECRET}@h\u2100/", "cannot be parsed"),
        (f"ws://user:{SECRET}@[bad/", "cannot be parsed"),
        (f"ws://{'ż' * 70}.x/?token={SECRET}", "cannot be encoded in ASCII"),
        ("//h/p", "must start with ws:// or wss://: '//h/p'"),
        ("ws:///p", "have a host"),
        ("ws://h:-1/", "cannot be parsed"),
        ("ws://h\x7f/", "control characters"),
        ("ws://b\u00b8h/", "a space"),
    ],
)
def test_an_invalid_url_is_refused_without_its_secrets(url: str, words: str) -> None:
    """The message gives the reason."""
    with pytest.raises(ValueError, match=words) as refused:
        parse(url)
    assert SECRET not in str(refused.value)


def test_a_url_is_a_text() -> None:
    """A number is refused with an example."""
    with pytest.raises(ValueError, match="url must be text"):
        parse(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"wss://h/p?token={SECRET}&v=1", "wss://h/p?token=***&v=1"),
        (f"wss://u:{SECRET}@h/p", "wss://***@h/p"),
        (f"wss://h/?Password={SECRET}", "wss://h/?Password=***"),
        ("wss://h/p?v=1&Lang=pl", "wss://h/p?v=1&Lang=pl"),
        (f"wss://h/p?ticket={SECRET}&X-Amz-Signature={SECRET}", "wss://h/p?ticket=***&X-Amz-Signature=***"),
        (f"wss://h/p?room={SECRET}", "wss://h/p?room=***"),
        (f"wss://h/p?{SECRET}", "wss://h/p?***"),
        (f"wss://h/p?v=1;ticket={SECRET}&a={SECRET}=", "wss://h/p?v=***&a=***"),
        ("wss://h/p?empty=&&v=", "wss://h/p?empty=&&v="),
        ("ws://[bad", "***"),
        (f"ws://u:{SECRET}/word@h", "***"),
        (f"wss://h/?%74oken={SECRET}", "wss://h/?%74oken=***"),
        (f"wss://h/?token={SECRET}&token={SECRET}x", "wss://h/?token=***&token=***"),
        (f"wss://h/p#token={SECRET}", "wss://h/p"),
        (f"wss://{SECRET}@h/", "wss://***@h/"),
    ],
)
def test_a_redacted_url_contains_no_secret(url: str, shown: str) -> None:
    """Passwords, and all values of a query whose names are not known to be harmless, become ``***``."""
    assert redact(url) == shown
    assert SECRET not in repr(parse("ws://h", token=SECRET))


def test_secrets_are_redacted_in_texts() -> None:
    """In each form in which they may appear."""
    text = f"GET /?token=a%2Bb a+b Authorization: ED25519-BASIC-TOKEN {SECRET}"
    assert redact_text("GET /?token=a%2Fb%2Bc", "a/b+c") == "GET /?token=***"
    assert redact_text("Bearer abc Basic dXNlcg==", "") == "Bearer *** Basic ***"
    assert redact_text(text, "a+b", None) == "GET /?token=*** *** Authorization: ED25519-BASIC-TOKEN ***"


def test_the_scheme_of_a_token_is_stripped_and_added() -> None:
    """From a token with or without its scheme."""
    for token in ("abc", "ED25519-BASIC-TOKEN abc", " ed25519-basic-token  abc "):
        assert strip_token_scheme(token) == "abc"
        assert with_token_scheme(token) == "ED25519-BASIC-TOKEN abc"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("app.localhost", True), ("127.3.2.1", True), ("[::1]", True), ("10.0.0.1", False)],
)
def test_loopback_hosts_are_recognized(host: str, loopback: bool) -> None:
    """Tokens may be sent to them without encryption."""
    assert parse(f"ws://{host}/").loopback is loopback


@pytest.mark.parametrize("url", ["ws://h/", "wss://h:8443/p?q=1", "ws://[::1]:8080/x"])
def test_a_target_has_its_url(url: str) -> None:
    """The parts lose nothing."""
    assert parse(url).url == url
    assert parse(url).secure is url.startswith("wss")


@pytest.mark.parametrize(
    "url", ["ws:/u:%s@host/x", "u:%s@host", "ws:u:%s@host", "ws:\\u:%s@host", "wss:///u:%s@host?a=1"]
)
def test_a_password_in_a_mistyped_url_is_redacted(url: str) -> None:
    """A missing slash does not reveal it."""
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
def test_a_lone_surrogate_is_refused_without_secrets(url: str, query: dict[str, str] | None, token: str | None) -> None:
    """The error of the codec would contain the text, secrets included."""
    with pytest.raises(ValueError, match="lone surrogates") as caught:
        parse(url, query, token)
    assert type(caught.value) is ValueError
    assert "hunter2" not in str(caught.value)
    assert isinstance(redact(url), str)
