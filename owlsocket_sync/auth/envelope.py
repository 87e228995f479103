"""Envelopes: a message with its date, its lifetime and the signature of its author.

A challenge, a one-time token and a bearer token are all envelopes. On the wire an envelope is JSON, in base64
(`Envelope.wrap`) or in unpadded base64url (`Envelope.tokenize`).
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import AuthMalformed
from .encoding import (
    SAFE_INTEGER_LIMIT,
    canonical_json,
    from_base64,
    from_base64url,
    parse_json,
    to_base64,
    to_base64url,
)
from .keys import KeyPair

DEFAULT_TTL = 300_000
"""Default lifetime of an envelope, in milliseconds."""

_FIELDS = ("t", "msg", "dt", "ttl", "sig")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Envelope:
    """A signed message with a lifetime.

    Attributes:
        type: purpose of the envelope: a challenge, a token.
        msg: the text itself, or an object as base64 of its JSON; an object passed here is encoded so.
        dt: creation date, in milliseconds since the epoch.
        ttl: lifetime in milliseconds; ``None`` for no expiry.
        sig: signature, ``None`` before `sign`.
        extra: unknown fields of a received envelope; signatures cover them too.
    """

    type: str
    # No repr: messages of tokens are secrets, and a signature completes a token.
    msg: str = field(default="", repr=False)
    dt: float = field(default_factory=_now_ms)
    ttl: float | None = DEFAULT_TTL
    sig: str | None = field(default=None, repr=False)
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.msg, str):
            self.msg = _encode_message(self.msg)

    def send(self, message: Any, ttl: float | None = DEFAULT_TTL) -> Envelope:
        """Set the message and the lifetime, and drop the signature; return the envelope itself.

        Args:
            message: text is stored as it is, anything else as base64 of its JSON.
            ttl: milliseconds; ``None`` for no expiry.

        Raises:
            AuthMalformed: the message cannot be written as JSON.
        """
        self.msg = message if isinstance(message, str) else _encode_message(message)
        self.ttl = ttl
        # The old signature does not match the new message.
        self.sig = None
        return self

    def message(self) -> Any:
        """Return the decoded message: the value whose JSON is stored in base64, or else the text."""
        # The wire does not mark which of both it is: text that happens to be base64 of JSON is decoded too. Hence a
        # challenge is signed and verified as ``msg``, never as what this returns.
        try:
            return parse_json(from_base64(self.msg, "the message").decode())
        except ValueError:
            return self.msg

    def sign(self, key: KeyPair) -> Envelope:
        """Return a signed copy; it replaces any earlier signature.

        Raises:
            AuthMalformed: the key is a public key, or a field cannot be written as JSON.
        """
        return replace(self, sig=key.sign(self._signed_bytes()), extra=dict(self.extra))

    def verify(self, key: KeyPair, now: float | None = None) -> bool:
        """Return whether this key signed the envelope and it has not expired.

        Args:
            key: key of the expected author.
            now: seconds since the epoch; ``None`` for the system clock.
        """
        return not self.expired(now) and self.signed_by(key)

    def expired(self, now: float | None = None) -> bool:
        """Return whether the lifetime is over, at ``now`` in seconds since the epoch."""
        # The very last millisecond still counts, as in the reference.
        return (time.time() if now is None else now) > self.expires_at

    @property
    def expires_at(self) -> float:
        """Expiry in seconds since the epoch; ``math.inf`` without one."""
        return math.inf if self.ttl is None else (self.dt + self.ttl) / 1000

    def signed_by(self, key: KeyPair) -> bool:
        """Return whether this key signed the envelope, expired or not."""
        if self.sig is None:
            return False
        try:
            return key.verify(self._signed_bytes(), self.sig)
        except AuthMalformed:  # such an envelope cannot have been signed by anyone
            return False

    def wrap(self) -> str:
        """Return the envelope in standard base64, the format of challenges."""
        return to_base64(self._to_json())

    def tokenize(self) -> str:
        """Return the envelope in unpadded base64url, the format of tokens."""
        return to_base64url(self._to_json())

    @classmethod
    def unwrap(cls, text: str) -> Envelope:
        """Parse the output of `wrap`; the signature is not verified.

        Raises:
            AuthMalformed: the text is not a wrapped envelope; the error does not contain it.
        """
        return cls._parse(from_base64(_require_text(text), "the envelope"))

    @classmethod
    def untokenize(cls, text: str) -> Envelope:
        """Parse the output of `tokenize`, without the scheme of a header; the signature is not verified.

        Raises:
            AuthMalformed: the text is not a token; the error does not contain it.
        """
        return cls._parse(from_base64url(_require_text(text), "the token"))

    @classmethod
    def _parse(cls, data: bytes) -> Envelope:
        try:
            fields = parse_json(data.decode())
        except ValueError:
            # "from None": the original error holds the data.
            raise AuthMalformed("the envelope does not contain JSON") from None
        if not isinstance(fields, dict):
            raise AuthMalformed(f"the envelope is not an object but {type(fields).__name__}")
        # The wire format fixes the order. The signature does not protect it, since the signed JSON is canonical.
        if [key for key in fields if key in _FIELDS] != [key for key in _FIELDS if key in fields]:
            raise AuthMalformed("the fields of the envelope are out of order")
        kind, msg, dt, ttl, sig = (_read_field(fields, key) for key in _FIELDS)
        return cls(kind, msg, dt, ttl, sig, {key: value for key, value in fields.items() if key not in _FIELDS})

    def _unsigned_fields(self) -> dict[str, Any]:
        return {"t": self.type, "msg": self.msg, "dt": self.dt, "ttl": self.ttl, **self.extra}

    def _signed_bytes(self) -> bytes:
        return canonical_json(self._unsigned_fields(), "the envelope")

    def _to_json(self) -> bytes:
        fields = self._unsigned_fields()
        if self.sig is not None:
            fields["sig"] = self.sig
        return _dump_json(fields, "the envelope")


def _encode_message(message: Any) -> str:
    return to_base64(_dump_json(message, "the message"))


def _dump_json(value: Any, what: str) -> bytes:
    """Write JSON byte for byte as ``JSON.stringify`` does."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise AuthMalformed(f"{what} cannot be written as JSON ({type(error).__name__})") from None


def _require_text(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"an envelope must be text, not {type(text).__name__}")
    return text


def _read_field(fields: dict[str, Any], key: str) -> Any:
    """Return a field of a received envelope, checked for presence and type."""
    value = fields.get(key)
    # "ttl": null means no expiry and must be written; a missing signature means unsigned.
    if value is None and (key == "sig" or (key == "ttl" and key in fields)):
        return None
    if key in ("dt", "ttl"):
        # bool is an int in Python. Beyond the limit JavaScript would read another number, and another expiry.
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < SAFE_INTEGER_LIMIT
    else:
        fits = isinstance(value, str)
    if not fits:
        raise AuthMalformed(
            f"the field {key!r} of the envelope {'is missing' if value is None else 'has a wrong type'}"
        )
    return value
