"""Envelopes: the vectors of the reference, and no forged envelope verifies."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owlsocket_sync.auth import Envelope, KeyPair
from owlsocket_sync.errors import AuthMalformed
from support.helpers import examples, load

VECTORS = load("envelope.json")
KEY = KeyPair.parse(VECTORS["signerExport"])
STRANGER = KeyPair.parse(load("keys.json")["other"]["export"])
CASES = VECTORS["cases"]


def envelope_of(case: dict[str, Any]) -> Envelope:
    """Build the envelope of a vector."""
    envelope = Envelope(case["type"], dt=case["dt"])
    return envelope.send(case["msg"]) if case["ttl"] == "omitted" else envelope.send(case["msg"], ttl=case["ttl"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_envelope_is_encoded_like_the_reference(case: dict[str, Any]) -> None:
    """Fields, signature and both encodings."""
    envelope = envelope_of(case)
    assert {"t": envelope.type, "msg": envelope.msg, "dt": envelope.dt, "ttl": envelope.ttl} == case["envelope"]
    assert (envelope.wrap(), envelope.tokenize()) == (case["wrapUnsigned"], case["tokenUnsigned"])
    signed = envelope.sign(KEY)
    assert signed.sig == case["sig"]
    assert envelope.sig is None
    assert (signed.wrap(), signed.tokenize()) == (case["wrap"], case["token"])
    assert len(signed.tokenize()) == case["tokenLength"]
    assert signed.sign(KEY) == signed
    assert signed.sign(STRANGER).sign(KEY) == signed


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_envelope_is_decoded_like_the_reference(case: dict[str, Any]) -> None:
    """From both encodings."""
    for read in (Envelope.unwrap(case["wrap"]), Envelope.untokenize(case["token"])):
        assert read.type == case["read"]["type"]
        assert read.message() == case["read"]["message"]
        assert read.msg == case["read"]["messagePreserved"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_envelope_verifies_when_the_reference_verifies_it(case: dict[str, Any]) -> None:
    """Right key, not expired, not a byte changed; signing twice replaces the signature."""
    dt, ttl = case["dt"], case["envelope"]["ttl"]
    read = Envelope.untokenize(case["token"])
    end = dt + (ttl or 0)
    at_once = (dt + 1) / 1000
    verdicts = {
        "rightKey_now_dt_plus_1": read.verify(KEY, now=at_once),
        "publicOnlyKey": read.verify(KeyPair.from_public(VECTORS["signerPublic"]), now=at_once),
        "wrapRightKey": Envelope.unwrap(case["wrap"]).verify(KEY, now=at_once),
        "wrongKey": read.verify(STRANGER, now=at_once),
        "tamperedMsg": replace(read, msg=read.msg + "x").verify(KEY, now=at_once),
        "changedType": replace(read, type=read.type + "x").verify(KEY, now=at_once),
        "changedTtlToNull": replace(read, ttl=None).verify(KEY, now=at_once),
        "noSig": replace(read, sig=None).verify(KEY, now=at_once),
        "extraUnsignedField": replace(read, extra={"x": 1}).verify(KEY, now=at_once),
        "now_before_dt": read.verify(KEY, now=(dt - 1000) / 1000),
        "now_eq_dt_plus_ttl": read.verify(KEY, now=end / 1000),
        "now_dt_plus_ttl_plus_1": read.verify(KEY, now=(end + 1) / 1000),
        "far_future": read.verify(KEY, now=(dt + 10**12) / 1000),
        "signedTwice": False,  # here the old signature is left out; see the test of writing
    }
    assert verdicts == case["verify"]


def token_of(fields: Any) -> str:
    """Return a token with arbitrary fields."""
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


GOOD = {"t": "t", "msg": "m", "dt": 1, "ttl": None}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (CASES[0]["token"] + "==", "not unpadded base64url"),
        ("ED25519-BASIC-TOKEN " + CASES[0]["token"], "not unpadded base64url"),
        (CASES[0]["token"][:-1], "envelope does not contain JSON|not unpadded base64url"),
        ("garbage", "not unpadded base64url"),
        ("", "does not contain JSON"),
        (token_of(5), "not an object but int"),
        (token_of([GOOD]), "not an object but list"),
        (token_of({**GOOD, "dt": True}), "'dt' of the envelope has a wrong type"),
        (token_of({**GOOD, "dt": 10**30}), "'dt' of the envelope has a wrong type"),
        (token_of({**GOOD, "dt": math.inf}), "does not contain JSON"),
        (token_of({**GOOD, "msg": {"a": 1}}), "'msg' of the envelope has a wrong type"),
        (token_of({**GOOD, "sig": 5}), "'sig' of the envelope has a wrong type"),
        (token_of({"msg": "m", "t": "t", "dt": 1, "ttl": None}), "out of order"),
        (token_of({"sig": "s", **GOOD}), "out of order"),
        (token_of({"t": "t", "msg": "m", "dt": 1}), "'ttl' of the envelope is missing"),
        (token_of({"msg": "m", "dt": 1, "ttl": None}), "'t' of the envelope is missing"),
        ("W1tb" * 40_000, "does not contain JSON"),
    ],
)
def test_malformed_token_is_rejected(token: str, words: str) -> None:
    """The error does not contain it."""
    with pytest.raises(AuthMalformed, match=words) as caught:
        Envelope.untokenize(token)
    assert not token or token not in str(caught.value)


def test_wrap_and_token_are_not_interchangeable() -> None:
    """A token in the standard alphabet is rejected as well."""
    odd = Envelope("t", "?>?>~~~", dt=1, ttl=None)
    assert "+" in odd.wrap() or "/" in odd.wrap()
    for wrong in (CASES[0]["wrapUnsigned"], odd.wrap()):
        assert wrong.endswith("=") or set(wrong) & set("+/")
        with pytest.raises(AuthMalformed):
            Envelope.untokenize(wrong)
    with pytest.raises(AuthMalformed):
        Envelope.unwrap(odd.tokenize())


def test_unknown_fields_are_kept_and_signed() -> None:
    """Fields of a newer peer neither break an envelope nor get lost."""
    strange = Envelope.untokenize(token_of({**GOOD, "kid": "k-1"})).sign(KEY)
    again = Envelope.untokenize(strange.tokenize())
    assert (again.extra, again.verify(KEY)) == ({"kid": "k-1"}, True)
    again.extra["kid"] = "k-2"
    assert not again.verify(KEY)


def test_object_message_is_encoded_as_json() -> None:
    """By the constructor and by `send`; the date is that of the system clock."""
    envelope = Envelope("t", {"ż": [1, None]})  # type: ignore[arg-type]
    assert envelope.message() == {"ż": [1, None]}
    assert envelope.ttl == 300_000
    assert envelope.sign(KEY).verify(KEY)
    assert not envelope.sign(KEY).verify(KEY, now=envelope.dt / 1000 + 301)
    assert not envelope.expired(now=envelope.expires_at)
    assert Envelope("t", ttl=None).expires_at == math.inf


def test_send_drops_the_signature() -> None:
    """The signature covers the old message."""
    assert Envelope("t", "a").sign(KEY).send("b").sig is None


@pytest.mark.parametrize("message", [{1, 2}, float("nan"), "\ud800", {"a": object()}])
def test_message_must_be_json(message: Any) -> None:
    """Neither `sign` nor `wrap` accepts anything else."""
    with pytest.raises(AuthMalformed):
        Envelope("t").send(message).sign(KEY)
    with pytest.raises(AuthMalformed):
        Envelope("t").send(message).wrap()


def test_repr_shows_neither_message_nor_signature() -> None:
    """A repr may be logged."""
    signed = Envelope("t", "very secret").sign(KEY)
    assert "secret" not in repr(signed)
    assert str(signed.sig) not in repr(signed)


def test_only_text_is_decoded() -> None:
    """Other types raise TypeError."""
    with pytest.raises(TypeError, match="must be text"):
        Envelope.unwrap(b"e30=")  # type: ignore[arg-type]


TOKEN = envelope_of(CASES[0]).sign(KEY).tokenize()
RAW = base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """Return a changed token: its text, or the JSON inside."""
    data = bytearray(draw(st.sampled_from((TOKEN.encode(), RAW))))
    behind = bytes(data[:1]) == b"{"
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(("change", "cut", "insert", "swap", "end")))
        if kind == "change":
            data[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[place : place + draw(st.integers(1, 8))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "swap":
            data[place:] = data[place:][::-1]
        else:
            del data[place:]
        if not data:
            break
    return base64.urlsafe_b64encode(bytes(data)).rstrip(b"=").decode() if behind else data.decode("latin-1")


@pytest.mark.slow
@settings(max_examples=examples(300, 10_000), suppress_health_check=list(HealthCheck))
@given(mutations())
def test_mutated_token_does_not_verify(text: str) -> None:
    """It is rejected with a documented error, or does not verify, unless it is the same envelope."""
    try:
        envelope = Envelope.untokenize(text)
    except AuthMalformed:
        return
    original = Envelope.untokenize(TOKEN)
    said_the_same = replace(envelope, sig=None) == replace(original, sig=None) and envelope.sig == original.sig
    assert envelope.verify(KEY, now=1_700_000_000.0) is said_the_same
    envelope.message()
