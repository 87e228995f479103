"""Key pairs: Ed25519 (RFC 8032), written and signed with as the reference does."""

from __future__ import annotations

import hmac
from typing import Any, NoReturn

import base58
from Crypto.Hash import keccak
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import AuthMalformed
from .encoding import canonical, from_base64, from_base64url, to_base64, to_base64url

KEY_TYPE = "ed25519"
KEY_BYTES = 32
ADDRESS_SKIPS = 4
ADDRESS_BYTES = 20


class KeyPair:
    """A private key and its public one, or a public key alone; immutable, so fit to be shared between threads.

    Neither its repr nor an error shows the private key, and it cannot be pickled.
    """

    def __init__(self, private: Ed25519PrivateKey | None, public: Ed25519PublicKey) -> None:
        self._private = private
        self._public = public
        self._public_bytes = public.public_bytes_raw()

    @classmethod
    def generate(cls) -> KeyPair:
        """A new pair, from the random source of the system."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> KeyPair:
        """The pair of a private key, written ``ed25519:<base64>`` or as bare base64.

        Raises:
            AuthMalformed: it is something else; what it is stays untold.
        """
        return cls._of(Ed25519PrivateKey.from_private_bytes(_read_key(text, "the private key")))

    @classmethod
    def from_public(cls, text: str) -> KeyPair:
        """A public key alone, written ``ed25519:<base64>`` or as bare base64; it verifies and does not sign.

        Raises:
            AuthMalformed: it is something else.
        """
        data = _read_key(text, "the public key")
        try:
            return cls(None, Ed25519PublicKey.from_public_bytes(data))
        except ValueError:
            raise AuthMalformed("the public key is no point of the curve") from None

    @classmethod
    def _of(cls, private: Ed25519PrivateKey) -> KeyPair:
        return cls(private, private.public_key())

    @property
    def private(self) -> str:
        """The private key as text; keep it secret.

        Raises:
            AuthMalformed: there is only a public key.
        """
        return f"{KEY_TYPE}:{to_base64(self._secret().private_bytes_raw())}"

    @property
    def public(self) -> str:
        """The public key as text."""
        return f"{KEY_TYPE}:{to_base64(self._public_bytes)}"

    @property
    def address(self) -> str:
        """Who the key stands for: a digest of the public key.

        The reference leaves out the first four bytes of the key, and so do we: 20 bytes of Keccak-256 over the rest.
        """
        digest = keccak.new(digest_bits=256, data=self._public_bytes[ADDRESS_SKIPS:]).digest()
        return f"{KEY_TYPE}:{base58.b58encode(digest[-ADDRESS_BYTES:]).decode('ascii')}"

    @property
    def can_sign(self) -> bool:
        """Whether the private key is here."""
        return self._private is not None

    def sign(self, data: Any) -> str:
        """The signature, as unpadded base64url.

        Args:
            data: text (signed as UTF-8), bytes (as they are), or what JSON has (as its canonical form, RFC 8785).

        Raises:
            AuthMalformed: there is only a public key, or the data is a bare number or boolean, or no JSON.
        """
        return to_base64url(self._secret().sign(signed_bytes(data)))

    def verify(self, data: Any, signature: str) -> bool:
        """Whether the signature is this key's, over this data; false too for what is no signature at all."""
        try:
            self._public.verify(from_base64url(signature, "the signature"), signed_bytes(data))
        except (InvalidSignature, AuthMalformed, TypeError):
            return False
        return True

    def _secret(self) -> Ed25519PrivateKey:
        if self._private is None:
            raise AuthMalformed(f"the key {self.address} is a public one: it can verify, not sign")
        return self._private

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KeyPair):
            return NotImplemented
        return self.can_sign is other.can_sign and hmac.compare_digest(self._public_bytes, other._public_bytes)

    def __hash__(self) -> int:
        return hash(self._public_bytes)

    def __repr__(self) -> str:
        return f"<KeyPair {self.address}{'' if self.can_sign else ', public'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a KeyPair is not pickled: hand over its private (a secret) or public text, and parse it there")


def signed_bytes(data: Any) -> bytes:
    """The bytes that a signature is made over.

    Raises:
        AuthMalformed: a bare number or boolean, or no JSON.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if isinstance(data, str):
        try:
            return data.encode()
        except UnicodeEncodeError:
            raise AuthMalformed("text with half a surrogate pair cannot be signed") from None
    if isinstance(data, (bool, int, float)):
        raise AuthMalformed("a bare number or boolean cannot be signed: put it into an object")
    return canonical(data, "the data")


def _read_key(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text, not {type(text).__name__}")
    kind, colon, rest = text.partition(":")
    if colon and kind != KEY_TYPE:
        raise AuthMalformed(f"{what} must be written ed25519:<base64>")
    data = from_base64(rest if colon else kind, what)
    if len(data) != KEY_BYTES:
        raise AuthMalformed(f"{what} must have {KEY_BYTES} bytes, not {len(data)}")
    return data
