"""Envelopes: a message, when it was written, how long it holds, and the signature of who wrote it.

A challenge, a one-time token and a bearer token are all envelopes. On the wire one is JSON in base64 (`Envelope.wrap`)
or in unpadded base64url (`Envelope.tokenize`).
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import AuthMalformed
from .encoding import EXACT, canonical, from_base64, from_base64url, read_json, to_base64, to_base64url
from .keys import KeyPair

DEFAULT_TTL = 300_000
"""Milliseconds for which an envelope holds when it does not say."""

_KEYS = ("t", "msg", "dt", "ttl", "sig")


def _now() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Envelope:
    """One envelope.

    Attributes:
        type: what it is: a challenge, a token.
        msg: the text itself, or the base64 of an object's JSON; an object that is handed over is written so.
        dt: when it was written, in milliseconds since the epoch.
        ttl: the milliseconds for which it holds; ``None`` for ever.
        sig: the signature, ``None`` before `sign`.
        extra: keys that somebody else put into it; signatures cover them too.
    """

    type: str
    msg: str = field(default="", repr=False)
    dt: float = field(default_factory=_now)
    ttl: float | None = DEFAULT_TTL
    sig: str | None = field(default=None, repr=False)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.msg, str):
            self.msg = _write_message(self.msg)

    def send(self, message: Any, ttl: float | None = DEFAULT_TTL) -> Envelope:
        """Put a message in: text as it is, anything else as its JSON; returns the envelope, unsigned again.

        Raises:
            AuthMalformed: the message is no JSON.
        """
        self.msg = message if isinstance(message, str) else _write_message(message)
        self.ttl = ttl
        self.sig = None
        return self

    def message(self) -> Any:
        """What is in it: the value whose JSON stands there in base64, or else the text."""
        try:
            return read_json(from_base64(self.msg, "the message").decode())
        except ValueError:
            return self.msg

    def sign(self, key: KeyPair) -> Envelope:
        """A copy that this key signed, in place of whoever signed before.

        Raises:
            AuthMalformed: the key is a public one, or the envelope holds what is no JSON.
        """
        return replace(self, sig=key.sign(self._signed_bytes()), extra=dict(self.extra))

    def verify(self, key: KeyPair, now: float | None = None) -> bool:
        """Whether this key signed it, and it still holds.

        Args:
            key: of whom it should be.
            now: seconds since the epoch; ``None`` for the clock of this machine.
        """
        return not self.expired(now) and self.signed_by(key)

    def expired(self, now: float | None = None) -> bool:
        """Whether its time is over, at ``now`` in seconds since the epoch; at its very last millisecond it holds."""
        return (time.time() if now is None else now) > self.ends

    @property
    def ends(self) -> float:
        """The last moment at which it holds, in seconds since the epoch; ``math.inf`` when it has none."""
        return math.inf if self.ttl is None else (self.dt + self.ttl) / 1000

    def signed_by(self, key: KeyPair) -> bool:
        """Whether this key signed it, whatever the time."""
        if self.sig is None:
            return False
        try:
            return key.verify(self._signed_bytes(), self.sig)
        except AuthMalformed:
            return False

    def wrap(self) -> str:
        """The envelope in standard base64, as challenges travel."""
        return to_base64(self._json())

    def tokenize(self) -> str:
        """The envelope in unpadded base64url, as tokens travel."""
        return to_base64url(self._json())

    @classmethod
    def unwrap(cls, text: str) -> Envelope:
        """Read what `wrap` wrote.

        Raises:
            AuthMalformed: it is something else; the message does not repeat it.
        """
        return cls._read(from_base64(_text(text), "the envelope"))

    @classmethod
    def untokenize(cls, text: str) -> Envelope:
        """Read what `tokenize` wrote; the scheme that a header puts before a token is no part of it.

        Raises:
            AuthMalformed: it is something else; the message does not repeat it.
        """
        return cls._read(from_base64url(_text(text), "the token"))

    @classmethod
    def _read(cls, data: bytes) -> Envelope:
        try:
            fields = read_json(data.decode())
        except ValueError:
            raise AuthMalformed("the envelope holds no JSON") from None
        if not isinstance(fields, dict):
            raise AuthMalformed(f"the envelope is no object, but {type(fields).__name__}")
        if [key for key in fields if key in _KEYS] != [key for key in _KEYS if key in fields]:
            raise AuthMalformed("the fields of the envelope are out of order")
        kind, msg, dt, ttl, sig = (_checked(fields, key) for key in _KEYS)
        return cls(kind, msg, dt, ttl, sig, {key: value for key, value in fields.items() if key not in _KEYS})

    def _fields(self) -> dict[str, Any]:
        return {"t": self.type, "msg": self.msg, "dt": self.dt, "ttl": self.ttl, **self.extra}

    def _signed_bytes(self) -> bytes:
        return canonical(self._fields(), "the envelope")

    def _json(self) -> bytes:
        fields = self._fields()
        if self.sig is not None:
            fields["sig"] = self.sig
        return _write_json(fields, "the envelope")


def _write_message(message: Any) -> str:
    return to_base64(_write_json(message, "the message"))


def _write_json(value: Any, what: str) -> bytes:
    """JSON as ``JSON.stringify`` writes it."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise AuthMalformed(f"{what} is no JSON ({type(error).__name__})") from None


def _text(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"an envelope must be text, not {type(text).__name__}")
    return text


def _checked(fields: dict[str, Any], key: str) -> Any:
    """A field of an envelope, when it is there and of its kind."""
    value = fields.get(key)
    if value is None and (key == "sig" or (key == "ttl" and key in fields)):
        return None
    if key in ("dt", "ttl"):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < EXACT
    else:
        fits = isinstance(value, str)
    if not fits:
        raise AuthMalformed(f"the field {key!r} of the envelope is {'missing' if value is None else 'of a wrong kind'}")
    return value
