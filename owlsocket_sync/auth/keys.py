"""Ed25519 key pairs (RFC 8032), in the text formats and with the signatures of the reference."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn, TypeVar

import base58
from Crypto.Hash import keccak
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import AuthMalformed
from ..values import Secret, forgetting_locals
from .curve import check_public_point
from .encoding import canonical_json, from_base64, from_base64url, to_base64, to_base64url

KeyText = TypeVar("KeyText")

KEY_TYPE = "ed25519"
KEY_BYTES = 32
ADDRESS_SKIPPED_BYTES = 4
ADDRESS_BYTES = 20


class KeyPair:
    """A private key with its public key, or a public key alone; immutable and thread-safe.

    The private key appears in no repr and in no error, and a key pair cannot be pickled.
    """

    def __init__(self, private: Ed25519PrivateKey | None, public: Ed25519PublicKey) -> None:
        self._private = private
        self._public = public
        self._public_bytes = public.public_bytes_raw()

    @classmethod
    def generate(cls) -> KeyPair:
        """Generate a key pair from the random source of the system."""
        return cls._from_private(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> KeyPair:
        """Parse a private key, written ``ed25519:<base64>`` or as bare base64.

        Raises:
            AuthMalformed: the text is not a private key; the error does not contain it.
        """
        text = hide(text)
        with forgetting_locals():
            return cls._from_private(Ed25519PrivateKey.from_private_bytes(_parse_key(text, "the private key")))

    @classmethod
    def from_public(cls, text: str) -> KeyPair:
        """Parse a public key, written ``ed25519:<base64>`` or as bare base64; it verifies and cannot sign.

        Raises:
            AuthMalformed: the text is not a public key, or one of the few for which anybody can sign.
        """
        data = _parse_key(text, "the public key")
        check_public_point(data)
        return cls(None, Ed25519PublicKey.from_public_bytes(data))

    @classmethod
    def _from_private(cls, private: Ed25519PrivateKey) -> KeyPair:
        return cls(private, private.public_key())

    @property
    def private(self) -> str:
        """The private key as text; keep it secret.

        Raises:
            AuthMalformed: this is a public key.
        """
        return f"{KEY_TYPE}:{to_base64(self._require_private().private_bytes_raw())}"

    @property
    def public(self) -> str:
        """The public key as text."""
        return f"{KEY_TYPE}:{to_base64(self._public_bytes)}"

    @property
    def address(self) -> str:
        """The address of the key: a digest of the public key, which identifies its owner."""
        # As the reference computes it: without the first four bytes of the key, and with Keccak-256, which pads
        # differently from SHA3-256 of hashlib.
        digest = keccak.new(digest_bits=256, data=self._public_bytes[ADDRESS_SKIPPED_BYTES:]).digest()
        return f"{KEY_TYPE}:{base58.b58encode(digest[-ADDRESS_BYTES:]).decode('ascii')}"

    @property
    def can_sign(self) -> bool:
        """True if the private key is present."""
        return self._private is not None

    def sign(self, data: Any) -> str:
        """Return the signature of the data, as unpadded base64url.

        Args:
            data: text (signed as UTF-8), bytes (as they are), or a JSON value (in its canonical form, RFC 8785).

        Raises:
            AuthMalformed: this is a public key, or the data is a bare number or boolean, or not JSON.
        """
        return to_base64url(self._require_private().sign(bytes_to_sign(data)))

    def verify(self, data: Any, signature: str) -> bool:
        """Return whether this key signed the data; false also for malformed signatures."""
        try:
            self._public.verify(from_base64url(signature, "the signature"), bytes_to_sign(data))
        except (InvalidSignature, AuthMalformed, TypeError):
            return False
        return True

    def _require_private(self) -> Ed25519PrivateKey:
        if self._private is None:
            raise AuthMalformed(f"the key {self.address} is a public key: it can verify, not sign")
        return self._private

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeyPair):
            return NotImplemented
        # Public keys suffice: a private key determines its public key.
        return self.can_sign is other.can_sign and hmac.compare_digest(self._public_bytes, other._public_bytes)

    def __hash__(self) -> int:
        return hash(self._public_bytes)

    def __repr__(self) -> str:
        return f"<KeyPair {self.address}{'' if self.can_sign else ', public'}>"

    def __reduce__(self) -> NoReturn:
        # Pickles end up in caches, queues and crash reports; copy.copy is refused by this too.
        raise TypeError("a KeyPair cannot be pickled: pass its private (a secret) or public text, and parse that")


def hide(key: KeyText) -> KeyText:
    """Return a key that shows nothing of itself among the locals of a frame, where it is text."""
    # Error trackers and debug pages show the locals of each frame of an error.
    return Secret(key) if isinstance(key, str) else key  # type: ignore[return-value]


def bytes_to_sign(data: Any) -> bytes:
    """Return the bytes that a signature of the data covers.

    Raises:
        AuthMalformed: the data is a bare number or boolean, or not JSON.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError:
            raise AuthMalformed("text with a lone surrogate cannot be signed") from None
    # Canonical JSON has a form for these, but the reference signs nothing for them.
    if isinstance(data, (bool, int, float)):
        raise AuthMalformed("a bare number or boolean cannot be signed: put it into an object")
    return canonical_json(data, "the data")


def _parse_key(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text, not {type(text).__name__}")
    if text != text.strip():
        # A file that an editor or `owlsocket keys new` wrote ends with a newline.
        raise AuthMalformed(f"{what} must not begin or end with whitespace: use strip() on the text of a file")
    kind, colon, rest = text.partition(":")
    if colon and kind != KEY_TYPE:
        raise AuthMalformed(f"{what} must be written ed25519:<base64>")
    data = from_base64(rest if colon else kind, what)
    if len(data) != KEY_BYTES:
        raise AuthMalformed(f"{what} must have {KEY_BYTES} bytes, not {len(data)}")
    return data
