"""Keys: the vectors of the reference, and no leak of a private key."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from owlsocket_sync.auth import Authority, KeyPair, Login, SignatureAuth
from owlsocket_sync.auth.encoding import to_base64
from owlsocket_sync.auth.keys import bytes_to_sign
from owlsocket_sync.errors import AuthError, AuthMalformed
from support.helpers import load

VECTORS = load("keys.json")
KEY = KeyPair.parse(VECTORS["key"]["export"])
OTHER = KeyPair.parse(VECTORS["other"]["export"])
HELLO: str = VECTORS["helloSignature"]


@pytest.mark.parametrize("entry", [VECTORS["key"], VECTORS["other"], *VECTORS["fixtureKeys"]])
def test_public_key_and_address_of_a_private_key(entry: dict[str, Any]) -> None:
    """In the text format of the reference, with and without the key type."""
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
def test_signatures_match_the_reference(entry: dict[str, Any]) -> None:
    """Over the same bytes; the same data cannot be signed."""
    data = _python(entry)
    if isinstance(entry["signature"], dict):
        with pytest.raises(AuthMalformed, match=r"cannot be signed"):
            KEY.sign(data)
        return
    assert bytes_to_sign(data).hex() == entry["signedBytes"]["hex"]
    assert KEY.sign(data) == entry["signature"]
    assert KEY.verify(data, entry["signature"]) is entry["verifies"] is True


def _python(entry: dict[str, Any]) -> Any:
    """Return the input of a vector as a Python value."""
    special: dict[str, Any] = {
        "bytes": bytes.fromhex(entry["input"]["$hex"]) if entry["name"] == "bytes" else None,
        "object in array undefined": [None, 1, None],
        "numbers": {**entry["input"], "neg": -0.0} if entry["name"] == "numbers" else None,
        "undefined": 0.5,
        "bigint": 2**70,
        "bigint in object": {"b": 2**70 + 1},
    }
    return special.get(entry["name"], entry["input"])


def test_verification_matches_the_reference() -> None:
    """False where the reference raises."""
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
def test_malformed_key_is_rejected(text: str) -> None:
    """The error does not contain it, and is an `AuthError` and a `ValueError`."""
    for read in (KeyPair.parse, KeyPair.from_public):
        with pytest.raises(AuthMalformed) as caught:
            read(text)
        assert isinstance(caught.value, AuthError)
        assert isinstance(caught.value, ValueError)
        assert not text or text not in str(caught.value)


def test_the_newline_of_a_file_is_named() -> None:
    """The most common mistake, and the reference accepts none either."""
    for text, read in ((KEY.private, KeyPair.parse), (KEY.public, KeyPair.from_public)):
        with pytest.raises(AuthMalformed, match=r"whitespace: use strip\(\) on the text of a file"):
            read(text + "\n")


def test_unpadded_base64_key_is_rejected() -> None:
    """As by the reference."""
    assert VECTORS["parsing"]["makeKeyPairModel(base64 without padding)"]["threw"]
    with pytest.raises(AuthMalformed, match="not standard base64"):
        KeyPair.parse(KEY.private.rstrip("="))


def test_private_key_is_not_exposed() -> None:
    """Neither by repr nor by pickle; a public key has none."""
    secret = KEY.private.partition(":")[2]
    assert secret not in repr(KEY)
    assert KEY.address in repr(KEY)
    assert repr(KeyPair.from_public(KEY.public)).endswith(", public>")
    for spread in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            spread(KEY)
    with pytest.raises(AuthMalformed, match="is a public key"):
        _ = KeyPair.from_public(KEY.public).private


@pytest.mark.parametrize(
    "fail",
    [
        lambda key: KeyPair.parse(key),
        lambda key: KeyPair.parse(f"{key}\n"),
        lambda key: KeyPair.parse(f"ed25519:!{key}"),
        lambda key: KeyPair.parse(f"rsa:{key}"),
        lambda key: Login("https://auth.example", f"{key}=", timeout=-1),
        lambda key: Login("https://auth.example", f"{key}\n"),
        lambda key: Authority(f"{key}=", 5),  # type: ignore[arg-type]
        lambda key: SignatureAuth(f"{key}\n"),
    ],
)
def test_private_key_is_in_no_local_of_an_error(fail: Callable[[str], object]) -> None:
    """Error trackers and debug pages show those of each frame."""
    secret = KEY.private.partition(":")[2][:-1]
    with pytest.raises((AuthMalformed, ValueError)) as caught:
        fail(secret)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    inside = [frame for frame in frames if frame.f_code.co_filename != __file__]
    assert inside
    # Not `self`: an object that is half made has no repr.
    shown = [repr(value) for frame in inside for name, value in frame.f_locals.items() if name != "self"]
    assert not [text for text in shown if secret in text]


@pytest.mark.parametrize("packed", [VECTORS["packAuthCredentials"], VECTORS["packAuthCredentials"]["noExtra"]])
def test_packed_credentials_match_the_reference(packed: dict[str, Any]) -> None:
    """With extra data and without: both signatures cover canonical JSON."""
    asked = dict(VECTORS["packAuthCredentials"]["input"])
    signature = packed["packed"]["credential"]
    if "extra" in packed:
        signature = json.loads(signature)["signature"]
        asked["credential"] = json.dumps(packed["extra"], separators=(",", ":"))
    assert bytes_to_sign(asked).decode() == packed["signedBytesUtf8"]
    assert KEY.sign(asked) == signature
    assert KEY.verify(asked, signature)


def test_address_identifies_one_key() -> None:
    """Including the key type."""
    matches = {
        "right": KEY.address == VECTORS["key"]["exportAddress"],
        "wrong": KEY.address == VECTORS["other"]["exportAddress"],
        "addressWithoutPrefix": KEY.address == VECTORS["key"]["keyPair"]["address"],
    }
    assert matches == VECTORS["matchAddress"]


def test_generated_keys_differ() -> None:
    """A key equals only itself; a private key does not equal its public key."""
    first, second = KeyPair.generate(), KeyPair.generate()
    assert first != second
    assert first == KeyPair.parse(first.private)
    assert first != KeyPair.from_public(first.public)
    assert len({first, KeyPair.parse(first.private), second}) == 2
    assert first != first.private


def test_key_must_be_text() -> None:
    """Bytes and None raise TypeError."""
    for wrong in (None, b"ed25519:"):
        with pytest.raises(TypeError, match="must be text"):
            KeyPair.parse(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [{1: 2}, {"a": {1, 2}}, {"a": float("nan")}, {"a": object()}, {"a": 2**53 + 1}])
def test_only_json_is_signed(data: Any) -> None:
    """Verification of anything else is false."""
    with pytest.raises(AuthMalformed, match="not JSON"):
        KEY.sign(data)
    assert KEY.verify(data, HELLO) is False


@pytest.mark.slow
def test_deeply_nested_data_is_not_signed() -> None:
    """A document of a peer must not exhaust the stack."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(AuthMalformed, match="nested too deep"):
        KEY.sign(deep)


# Points of order 1, 2, 4, 8 and 8, and encodings of y that are not below the prime.
WEAK = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]
NOT_CANONICAL = [
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        *((data, "has a small order") for data in WEAK),
        *((data, "is not in its canonical form") for data in NOT_CANONICAL),
        ("02" + 31 * "00", "is not a point of the curve"),
    ],
)
def test_a_public_key_for_which_anybody_can_sign_is_refused(data: str, words: str) -> None:
    """One signature would hold for every message; and one key has one spelling."""
    with pytest.raises(AuthMalformed, match=words):
        KeyPair.from_public(to_base64(bytes.fromhex(data)))


def test_a_public_key_that_was_generated_is_taken() -> None:
    """Every one of them."""
    for _ in range(50):
        pair = KeyPair.generate()
        assert KeyPair.from_public(pair.public).verify("text", pair.sign("text"))
