"""Keys: what the reference wrote with its own is what we write with the same."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from helpers import load

from owlsocket_sync.auth import KeyPair
from owlsocket_sync.auth.keys import signed_bytes
from owlsocket_sync.errors import AuthError, AuthMalformed

VECTORS = load("keys.json")
KEY = KeyPair.parse(VECTORS["key"]["export"])
OTHER = KeyPair.parse(VECTORS["other"]["export"])
HELLO: str = VECTORS["helloSignature"]


@pytest.mark.parametrize("entry", [VECTORS["key"], VECTORS["other"], *VECTORS["fixtureKeys"]])
def test_a_private_key_leads_to_its_public_key_and_address(entry: dict[str, Any]) -> None:
    """Written as the reference writes them, with and without their type before them."""
    for text in (entry["export"], entry["export"].partition(":")[2]):
        pair = KeyPair.parse(text)
        assert (pair.private, pair.public, pair.address, pair.can_sign) == (
            entry["export"],
            entry["exportPublic"],
            entry["exportAddress"],
            True,
        )
    public = KeyPair.from_public(entry["exportPublic"])
    assert (public.public, public.address, public.can_sign) == (entry["exportPublic"], entry["exportAddress"], False)


@pytest.mark.parametrize("entry", VECTORS["signing"], ids=lambda entry: str(entry["name"]))
def test_signatures_are_those_of_the_reference(entry: dict[str, Any]) -> None:
    """Over the same bytes; what cannot be signed there cannot be signed here."""
    data = _python(entry)
    if isinstance(entry["signature"], dict):
        with pytest.raises(AuthMalformed, match=r"cannot be signed"):
            KEY.sign(data)
        return
    assert signed_bytes(data).hex() == entry["signedBytes"]["hex"]
    assert KEY.sign(data) == entry["signature"]
    assert KEY.verify(data, entry["signature"]) is entry["verifies"] is True


def _python(entry: dict[str, Any]) -> Any:
    """The input of a vector as Python has it."""
    special: dict[str, Any] = {
        "bytes": bytes.fromhex(entry["input"]["$hex"]) if entry["name"] == "bytes" else None,
        "object in array undefined": [None, 1, None],
        "numbers": {**entry["input"], "neg": -0.0} if entry["name"] == "numbers" else None,
        "undefined": 0.5,
        "bigint": 2**70,
        "bigint in object": {"b": 2**70 + 1},
    }
    return special.get(entry["name"], entry["input"])


def test_every_vector_of_verifying_holds() -> None:
    """What raises there is simply not a signature here."""
    signature = HELLO
    empty = VECTORS["signing"][1]["signature"]
    flipped = ("5" if signature[0] == "4" else "4") + signature[1:]
    reordered, canonical = {"b": 1, "a": 2}, '{"a":2,"b":1}'
    seen = {
        "right": KEY.verify("hello", signature),
        "other data": KEY.verify("hallo", signature),
        "other key": OTHER.verify("hello", signature),
        "flipped bit": KEY.verify("hello", flipped),
        "empty signature": KEY.verify("hello", ""),
        "short signature": KEY.verify("hello", signature[:40]),
        "padded base64url": KEY.verify("hello", signature + "=="),
        'standard base64 alphabet, unpadded (signature of "" that contains - or _)': KEY.verify(
            "", empty.replace("-", "+").replace("_", "/")
        ),
        "not base64 at all": KEY.verify("hello", "!!!"),
        "object, reordered keys": KEY.verify({"a": 2, "b": 1}, KEY.sign(reordered)),
        "string vs object with the same canonical form": KEY.verify(canonical, KEY.sign(reordered)),
    }
    recorded = {entry["name"]: entry["result"] is True for entry in VECTORS["verifying"]}
    assert recorded.pop("private key missing: sign") is False
    assert seen == recorded
    with pytest.raises(AuthMalformed, match="can verify, not sign"):
        KeyPair.from_public(KEY.public).sign("hello")


@pytest.mark.parametrize(
    "text", ["unknown:AAAA", "ed25519:", "", "ed25519:AAECAwQFBgcICQoLDA0ODw==", "!", "ed25519:AAEC\n"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """And is not repeated; the error is an `AuthError` and a `ValueError`."""
    for read in (KeyPair.parse, KeyPair.from_public):
        with pytest.raises(AuthMalformed) as caught:
            read(text)
        assert isinstance(caught.value, AuthError)
        assert isinstance(caught.value, ValueError)
        assert not text or text not in str(caught.value)


def test_base64_without_its_padding_is_refused() -> None:
    """As the reference refuses it."""
    assert VECTORS["parsing"]["makeKeyPairModel(base64 without padding)"]["threw"]
    with pytest.raises(AuthMalformed, match="no standard base64"):
        KeyPair.parse(KEY.private.rstrip("="))


def test_a_private_key_stays_where_it_is() -> None:
    """Not in a repr, and not in a pickle; a public key has none to give."""
    secret = KEY.private.partition(":")[2]
    assert secret not in repr(KEY)
    assert KEY.address in repr(KEY)
    assert repr(KeyPair.from_public(KEY.public)).endswith(", public>")
    for spread in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            spread(KEY)
    with pytest.raises(AuthMalformed, match="public one"):
        _ = KeyPair.from_public(KEY.public).private


@pytest.mark.parametrize("packed", [VECTORS["packAuthCredentials"], VECTORS["packAuthCredentials"]["noExtra"]])
def test_packed_credentials_are_signed_as_the_reference_signs_them(packed: dict[str, Any]) -> None:
    """With what goes along, and without: both are signatures over canonical JSON."""
    asked = dict(VECTORS["packAuthCredentials"]["input"])
    signature = packed["packed"]["credential"]
    if "extra" in packed:
        signature = json.loads(signature)["signature"]
        asked["credential"] = json.dumps(packed["extra"], separators=(",", ":"))
    assert signed_bytes(asked).decode() == packed["signedBytesUtf8"]
    assert KEY.sign(asked) == signature
    assert KEY.verify(asked, signature)


def test_an_address_is_that_of_one_key() -> None:
    """With its type before it."""
    told = {
        "right": KEY.address == VECTORS["key"]["exportAddress"],
        "wrong": KEY.address == VECTORS["other"]["exportAddress"],
        "addressWithoutPrefix": KEY.address == VECTORS["key"]["keyPair"]["address"],
    }
    assert told == VECTORS["matchAddress"]


def test_new_keys_are_new() -> None:
    """And equal to themselves alone, private and public kept apart."""
    one, two = KeyPair.generate(), KeyPair.generate()
    assert one != two
    assert one == KeyPair.parse(one.private)
    assert one != KeyPair.from_public(one.public)
    assert len({one, KeyPair.parse(one.private), two}) == 2
    assert one != one.private


def test_a_key_must_be_text() -> None:
    """Bytes and nothing at all are refused by type."""
    for wrong in (None, b"ed25519:"):
        with pytest.raises(TypeError, match="must be text"):
            KeyPair.parse(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [{1: 2}, {"a": {1, 2}}, {"a": float("nan")}, {"a": object()}, {"a": 2**53 + 1}])
def test_what_is_no_json_is_not_signed(data: Any) -> None:
    """Nor verified: it is false."""
    with pytest.raises(AuthMalformed, match="no JSON"):
        KEY.sign(data)
    assert KEY.verify(data, HELLO) is False


def test_what_is_nested_too_deep_is_not_signed() -> None:
    """A document of a peer cannot break the interpreter."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(AuthMalformed, match="nested too deep"):
        KEY.sign(deep)
