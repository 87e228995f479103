"""Envelopes: the reference's vectors, and nothing that was tampered with gets through."""

from __future__ import annotations

import base64
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from helpers import load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from owlsocket_sync.auth import Envelope, KeyPair
from owlsocket_sync.errors import AuthMalformed

VECTORS = load("envelope.json")
KEY = KeyPair.parse(VECTORS["signerExport"])
STRANGER = KeyPair.parse(load("keys.json")["other"]["export"])
CASES = VECTORS["cases"]


def made(case: dict[str, Any]) -> Envelope:
    """The envelope of a vector, made by us."""
    envelope = Envelope(case["type"], dt=case["dt"])
    return envelope.send(case["msg"]) if case["ttl"] == "omitted" else envelope.send(case["msg"], ttl=case["ttl"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_an_envelope_is_written_as_the_reference_writes_it(case: dict[str, Any]) -> None:
    """Fields, signature, and both of its texts."""
    envelope = made(case)
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
def test_an_envelope_is_read_as_the_reference_reads_it(case: dict[str, Any]) -> None:
    """From both of its texts."""
    for read in (Envelope.unwrap(case["wrap"]), Envelope.untokenize(case["token"])):
        assert read.type == case["read"]["type"]
        assert read.message() == case["read"]["message"]
        assert read.msg == case["read"]["messagePreserved"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_an_envelope_holds_when_it_holds_for_the_reference(case: dict[str, Any]) -> None:
    """Right key, right time, not a byte changed; signing twice does not break it here."""
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
    """A token with anything in it."""
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


GOOD = {"t": "t", "msg": "m", "dt": 1, "ttl": None}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (CASES[0]["token"] + "==", "no unpadded base64url"),
        ("ED25519-BASIC-TOKEN " + CASES[0]["token"], "no unpadded base64url"),
        (CASES[0]["token"][:-1], "envelope holds no JSON|no unpadded base64url"),
        ("garbage", "no unpadded base64url"),
        ("", "holds no JSON"),
        (token_of(5), "no object, but int"),
        (token_of([GOOD]), "no object, but list"),
        (token_of({**GOOD, "dt": True}), "'dt' of the envelope is of a wrong kind"),
        (token_of({**GOOD, "dt": 10**30}), "'dt' of the envelope is of a wrong kind"),
        (token_of({**GOOD, "dt": math.inf}), "holds no JSON"),
        (token_of({**GOOD, "msg": {"a": 1}}), "'msg' of the envelope is of a wrong kind"),
        (token_of({**GOOD, "sig": 5}), "'sig' of the envelope is of a wrong kind"),
        (token_of({"msg": "m", "t": "t", "dt": 1, "ttl": None}), "out of order"),
        (token_of({"sig": "s", **GOOD}), "out of order"),
        (token_of({"t": "t", "msg": "m", "dt": 1}), "'ttl' of the envelope is missing"),
        (token_of({"msg": "m", "dt": 1, "ttl": None}), "'t' of the envelope is missing"),
        ("W1tb" * 40_000, "holds no JSON"),
    ],
)
def test_what_is_no_token_is_refused(token: str, words: str) -> None:
    """And is not repeated in the error."""
    with pytest.raises(AuthMalformed, match=words) as caught:
        Envelope.untokenize(token)
    assert not token or token not in str(caught.value)


def test_the_two_texts_are_not_mistaken_for_each_other() -> None:
    """A wrap is no token, a token in the standard alphabet is none either."""
    odd = Envelope("t", "?>?>~~~", dt=1, ttl=None)
    assert "+" in odd.wrap() or "/" in odd.wrap()
    for wrong in (CASES[0]["wrapUnsigned"], odd.wrap()):
        assert wrong.endswith("=") or set(wrong) & set("+/")
        with pytest.raises(AuthMalformed):
            Envelope.untokenize(wrong)
    with pytest.raises(AuthMalformed):
        Envelope.unwrap(odd.tokenize())


def test_keys_of_somebody_else_are_kept_and_signed() -> None:
    """What a newer peer puts into an envelope neither breaks nor loses anything."""
    strange = Envelope.untokenize(token_of({**GOOD, "kid": "k-1"})).sign(KEY)
    again = Envelope.untokenize(strange.tokenize())
    assert (again.extra, again.verify(KEY)) == ({"kid": "k-1"}, True)
    again.extra["kid"] = "k-2"
    assert not again.verify(KEY)


def test_an_object_that_is_handed_over_is_written_as_json() -> None:
    """By the constructor as by `send`; the clock of this machine dates it."""
    envelope = Envelope("t", {"ż": [1, None]})  # type: ignore[arg-type]
    assert envelope.message() == {"ż": [1, None]}
    assert envelope.ttl == 300_000
    assert envelope.sign(KEY).verify(KEY)
    assert not envelope.sign(KEY).verify(KEY, now=envelope.dt / 1000 + 301)
    assert not envelope.expired(now=envelope.ends)
    assert Envelope("t", ttl=None).ends == math.inf


def test_sending_takes_an_old_signature_off() -> None:
    """What was signed is not what is sent now."""
    assert Envelope("t", "a").sign(KEY).send("b").sig is None


@pytest.mark.parametrize("message", [{1, 2}, float("nan"), "\ud800", {"a": object()}])
def test_what_is_no_json_goes_into_no_envelope(message: Any) -> None:
    """Neither in nor out."""
    with pytest.raises(AuthMalformed):
        Envelope("t").send(message).sign(KEY)
    with pytest.raises(AuthMalformed):
        Envelope("t").send(message).wrap()


def test_an_envelope_shows_neither_its_message_nor_its_signature() -> None:
    """A repr may be logged."""
    signed = Envelope("t", "very secret").sign(KEY)
    assert "secret" not in repr(signed)
    assert str(signed.sig) not in repr(signed)


def test_text_is_what_is_read() -> None:
    """Anything else is refused by type."""
    with pytest.raises(TypeError, match="must be text"):
        Envelope.unwrap(b"e30=")  # type: ignore[arg-type]


TOKEN = made(CASES[0]).sign(KEY).tokenize()
RAW = base64.urlsafe_b64decode(TOKEN + "=" * (-len(TOKEN) % 4))


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A token that somebody changed: its text, or the JSON behind it."""
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


@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_no_mutation_of_a_token_is_believed(text: str) -> None:
    """It is refused with a documented error, or does not verify; one that says the same is the same."""
    try:
        envelope = Envelope.untokenize(text)
    except AuthMalformed:
        return
    original = Envelope.untokenize(TOKEN)
    said_the_same = replace(envelope, sig=None) == replace(original, sig=None) and envelope.sig == original.sig
    assert envelope.verify(KEY, now=1_700_000_000.0) is said_the_same
    envelope.message()
