"""Readers of text: messages, marshalled errors, and addresses."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from fuzz.target import Target, as_text, pure
from owlsocket_sync.errors import ResilientError, SocketMessageMalformed
from owlsocket_sync.handshake_fields import check_headers
from owlsocket_sync.protocol.codec import decode, encode
from owlsocket_sync.protocol.messages import Message
from owlsocket_sync.transport.proxies import parse_proxy
from owlsocket_sync.urls import PUBLIC_KEYS, parse, parse_base, redact
from support.helpers import VECTORS, load

Read = TypeVar("Read")

SHOWN = 200
SECRET = "hunter2hunter2"


def read_message(data: bytes) -> None:
    """A message, news for listeners, or `SocketMessageMalformed`; what was read can be written, or is refused so."""
    for frame in (data, as_text(data)):
        try:
            message = decode(frame)
        except SocketMessageMalformed as error:
            assert len(error.text or "") <= SHOWN
            assert len(error.message) < 3000  # 200 characters, which their repr may make longer
            assert str(error)
            assert error.code == "MALFORMED"
            continue
        if isinstance(message, Message):
            _write_again(message)
        else:
            assert message == (frame if isinstance(frame, str) else frame.decode("utf-8", "replace"))


def _write_again(message: Message) -> None:
    try:
        written = encode(message)
    except SocketMessageMalformed:
        return
    again = decode(written)
    assert isinstance(again, Message)
    assert again.type == message.type or message.type is None


def read_error(data: bytes) -> None:
    """Always an error of ours, which can be shown, marshalled, pickled and read again."""
    text = as_text(data)
    values: list[object] = [text]
    try:
        values.append(json.loads(text))
    except (ValueError, RecursionError):
        pass  # most texts are no JSON
    for value in values:
        error = ResilientError.unmarshal(value)
        assert isinstance(error, ResilientError)
        assert error.remote
        assert (str(error), repr(error)) is not None
        assert isinstance(error.type, str)
        assert isinstance(error.message, str)
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.type, copy.message) == (type(error), error.type, error.message)
        again = ResilientError.unmarshal(error.marshal())
        assert isinstance(again, ResilientError)


def read_url(data: bytes) -> None:
    """A target that fits a request line, or a plain `ValueError` that repeats no password or token."""
    url = as_text(data)
    target = _or_value_error(lambda: parse(url, {"q": "ä"}, "t"), url)
    if target is not None:
        assert target.scheme in ("ws", "wss")
        assert 0 < target.port < 65_536
        line = f"GET {target.resource} HTTP/1.1\r\nHost: {target.host_header}"
        assert line.isascii()
        assert not set(target.resource + target.host_header) & set("\0\r\n\t \x7f"), target
        assert isinstance(target.loopback, bool)
        assert repr(target)
    shown = redact(url)
    assert isinstance(shown, str)
    _or_value_error(lambda: parse_base(url, "base_url"), url)
    with suppress(ValueError):
        parse_proxy(url)
    _or_value_error(lambda: check_headers({"X-Name": url, url: "x"}), None)


def _or_value_error(read: Callable[[], Read], secret_in: str | None) -> Read | None:
    try:
        return read()
    except ValueError as error:
        assert type(error) is ValueError, f"{type(error).__name__} carries what it was made of"
        if secret_in is not None and _holds_secret(secret_in):
            assert SECRET not in str(error)
        return None


def _holds_secret(url: str) -> bool:
    """Whether the secret stands where passwords and tokens stand; anywhere else it is nothing but text."""
    try:
        parts = urlsplit(url)
        if url.count(SECRET) > 1 or not parts.netloc:
            return url.count(SECRET) == 1 and "@" in url.partition(SECRET)[2]
        return SECRET in parts.netloc.rpartition("@")[0] or any(
            SECRET in value for key, value in parse_qsl(parts.query) if key.lower() not in PUBLIC_KEYS
        )
    except ValueError:
        return False


# -- what to begin with ----------------------------------------------------------------------------------------------


def recorded_texts() -> Iterable[str]:
    """The texts of the recordings."""
    for path in sorted((VECTORS / "recordings").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            text = json.loads(line).get("raw")
            if isinstance(text, str):
                yield text


def _messages() -> list[bytes]:
    frames = load("frames.json")
    texts = {text for side in ("c2s", "s2c") for text in frames[side].values()} | set(recorded_texts())
    return [text.encode() for text in sorted(texts)]


def _errors() -> list[bytes]:
    return [entry["input"].encode() for entry in load("errors.json")["ensureStrings"]]


URLS = (
    b"ws://localhost",
    b"wss://api.example.com:8443/ws/x?room=1&token=t#part",
    b"ws://[::1]:80/%7Eme?x=%20y",
    "wss://bücher.example/straße?q=ä".encode(),
    f"ws://user:{SECRET}@host/path".encode(),
    f"wss://host/ws?token={SECRET}&a=b".encode(),
    f"http://user:{SECRET}@proxy.example:3128".encode(),
    b"https://auth.example.com/base/",
)

JSON_WORDS = (
    *(b'"%s"' % word for word in b"type payload id method event stage timeout dt sender recipient".split()),
    *(b'"%s"' % word for word in b"call result error request response event message auth system".split()),
    b"null",
    b"true",
    b"1e400",
    b"-0",
    b"NaN",
    b"Infinity",
    b"9" * 30,
    b"9" * 400,
    b'"\\ud800"',
    b'"\\u0000"',
    b"\xed\xa0\x80",
    b"[]",
    b"{}",
    b"[" * 1500,
    b'{"a":' * 1100,
    b",",
    b":",
    b'"',
    b"\xef\xbb\xbf",
    b"}" * 20,
    b"]" * 20,
)
ERROR_WORDS = (
    b"|||",
    b"Error: ",
    b"|||Error: ",
    b"|||Error\n",
    b"SocketErrorTimeout",
    b"\n    at ",
    b"|",
    b"null",
    b"[[",
)
URL_WORDS = (
    b"ws://",
    b"wss:",
    b"//",
    b"@",
    b":",
    b":0",
    b":99999",
    b"[",
    b"]",
    b"[::1%25eth0]",
    b"?",
    b"#",
    b"&token=",
    b"%",
    b"%00",
    b"\xed\xa0\x80",
    b"\xef\xac\x80\xe2\x84\x80\xef\xbc\x8e",
    b"xn--",
    b".",
    b"a" * 70,
    b"\xff",
    b"\t",
    b" ",
    b"\\",
    b";",
    b"token=",
)

TARGETS: tuple[Target, ...] = (
    pure("message", read_message, _messages, JSON_WORDS),
    pure("error", read_error, _errors, ERROR_WORDS),
    pure("url", read_url, lambda: list(URLS), URL_WORDS),
)
