"""Addresses of proxies: from a URL, and from the environment as `requests` reads it."""

from __future__ import annotations

import pytest

from owlsocket_sync.transport.proxies import ProxyAddress, parse_proxy, proxy_for
from owlsocket_sync.urls import parse


def test_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``"env"`` follows ``http_proxy``, ``https_proxy`` and ``no_proxy``; by default nothing does."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://plain:1")
    monkeypatch.setenv("https_proxy", "http://secure:2")
    monkeypatch.setenv("no_proxy", "near.example")
    plain, secure, near = parse("ws://far.example"), parse("wss://far.example"), parse("ws://near.example")
    assert proxy_for(plain, "env") == ProxyAddress("plain", 1)
    assert proxy_for(secure, "env") == ProxyAddress("secure", 2)
    assert proxy_for(near, "env") is None
    assert proxy_for(plain, None) is None
    monkeypatch.delenv("http_proxy")
    monkeypatch.setenv("all_proxy", "every:3")
    assert proxy_for(plain, "env") == ProxyAddress("every", 3)
    assert proxy_for(secure, "env") == ProxyAddress("secure", 2)


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("ws://10.1.2.3", "10.0.0.0/8", True),
        ("ws://10.1.2.3:81", "far.example, 10.1.2.9/24 ,", True),
        ("ws://11.1.2.3", "10.0.0.0/8", False),
        ("ws://[fd00::1]", "10.0.0.0/8,fd00::/8", True),
        ("ws://[fe80::1]", "fd00::/8", False),
        ("ws://10.1.2.3", "10.0.0.0/99,a/b,10.1.0.0/16", True),
        ("ws://10.example", "10.0.0.0/8", False),
        ("ws://10.1.2.3", "", False),
    ],
)
def test_networks_without_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, is_direct: bool
) -> None:
    """As curl, requests and Go read ``no_proxy``: traffic within a cluster does not leave it."""
    for name in ("HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://plain:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_for(parse(url), "env") is None) is is_direct


def test_a_proxy_of_the_environment_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, and without its password."""
    for name in ("HTTP_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "ftp://me:s3cret@h:1")
    with pytest.raises(ValueError, match="http_proxy") as caught:
        proxy_for(parse("ws://far.example"), "env")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["h:3128", "//h:3128", "http://h:3128"])
def test_a_proxy_without_a_scheme_is_an_http_proxy(proxy: str) -> None:
    """As curl and requests read it."""
    assert parse_proxy(proxy) == ProxyAddress("h", 3128)
    assert parse_proxy(f"{proxy.rpartition('h:')[0]}me:s3cret@h:3128").authorization == "Basic bWU6czNjcmV0"


@pytest.mark.parametrize(
    "proxy",
    [
        "https://u:pass@h:1",
        "http://",
        "",
        "h:80000",
        "h h:80",
        "http://u:pass@h:99999999",
        "socks4://u:pass@h",
        "socks5://u@h",
        "socks5h://:pass@h",
        "socks5://u:pass@é@h",
        f"socks5://u:pass@{'x' * 256}@h",
    ],
)
def test_proxies_that_cannot_be_used(proxy: str) -> None:
    """The message names the option, and contains no password."""
    with pytest.raises(ValueError, match="proxy") as caught:
        parse_proxy(proxy)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "address"),
    [
        ("socks5://h", ProxyAddress("h", 1080, scheme="socks5")),
        ("socks5h://me:p%40ss@h:1", ProxyAddress("h", 1, scheme="socks5h", login=("me", "p@ss"))),
        ("socks4://me@[::1]", ProxyAddress("::1", 1080, scheme="socks4", login=("me", ""))),
        ("socks4a://h", ProxyAddress("h", 1080, scheme="socks4a")),
    ],
)
def test_a_socks_proxy(proxy: str, address: ProxyAddress) -> None:
    """Its port is 1080 where the URL names none, and its repr has no password."""
    assert parse_proxy(proxy) == address
    assert "ss" not in repr(parse_proxy(proxy)).replace("ProxyAddress", "").replace("socks", "")
    assert (address.is_socks, address.has_login) == (True, "@" in proxy)


def test_all_proxy_with_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For both schemes; what NO_PROXY names goes its own way."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:s3cret@gate")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8,.near.example")
    address = ProxyAddress("gate", 1080, scheme="socks5h", login=("me", "s3cret"))
    assert proxy_for(parse("ws://far.example"), "env") == address
    assert proxy_for(parse("wss://far.example"), "env") == address
    assert proxy_for(parse("ws://127.8.8.8:99"), "env") is None
    assert proxy_for(parse("wss://a.near.example"), "env") is None
    monkeypatch.setenv("ALL_PROXY", "https://me:s3cret@gate")
    with pytest.raises(ValueError, match="all_proxy, must be an http:// or socks5://") as caught:
        proxy_for(parse("ws://far.example"), "env")
    assert "s3cret" not in str(caught.value)
