"""Models: validated when decoded, and nothing is lost in a round trip."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owlsocket_sync import auth
from owlsocket_sync.auth import (
    AllowanceRequest,
    AllowanceResponse,
    AttributeSet,
    Auth,
    AuthCredentials,
    AuthenticationType,
    AuthorizationType,
    AuthRole,
    AuthToken,
    EnvelopeKind,
    PermissionSet,
    Profile,
)
from owlsocket_sync.auth.dates import format_date, parse_date
from owlsocket_sync.auth.models import Model
from owlsocket_sync.errors import AuthMalformed
from support.helpers import examples, load

CONSTANTS = load("consts.json")
STEPS = load("login.json")["steps"]
AUTH = STEPS["3 message (Auth)"]
CREDENTIALS = STEPS["2 message (AuthCredentials)"]
PERMISSION = {"scope": "docs", "permissions": {"read": True, "level": 3, "open": None}, "resources": ["document-1"]}
FULL = {
    **AUTH,
    "expiresAt": "2026-12-01T00:00:00.000Z",
    "entityId": "entity",
    "permissions": [PERMISSION],
    "attributes": [{"scope": "docs", "attributes": ["attribute-1"]}],
    "permissioned": False,
}
MODELS: list[type[Model]] = [
    AllowanceRequest,
    AllowanceResponse,
    AttributeSet,
    Auth,
    AuthCredentials,
    AuthToken,
    PermissionSet,
    Profile,
]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (AuthRole, "AuthRole"),
        (AuthenticationType, "AuthenticationType"),
        (AuthorizationType, "AuthroizationType"),
        (EnvelopeKind, "EnvelopeKind"),
    ],
)
def test_enum_values_match_the_reference(ours: Any, theirs: str) -> None:
    """All values and no others; each member prints as its value."""
    assert sorted(member.value for member in ours) == sorted(CONSTANTS[theirs].values())
    for member in ours:
        assert f"{member}" == str(member) == member.value == member


@pytest.mark.parametrize(
    "name",
    [
        "AUTH_HEADER",
        "AUTH_QUERY",
        "ENTITY_QUERY",
        "PROFILE_QUERY",
        "ALL_SCOPES",
        "AUTH_SCOPE",
        "GUEST_ID",
        "DEFAULT_TTL",
    ],
)
def test_constant_matches_the_reference(name: str) -> None:
    """As in the recorded constants."""
    assert getattr(auth, name) == CONSTANTS[name]


@pytest.mark.parametrize(
    ("model", "wire"),
    [
        (Auth, AUTH),
        (Auth, FULL),
        (AuthCredentials, CREDENTIALS),
        (AuthToken, STEPS["2 one-time token"]),
        (AllowanceResponse, STEPS["1 challenge (base64 Wrap envelope)"]),
        (AllowanceRequest, {"type": "basic-ed25519"}),
        (PermissionSet, PERMISSION),
        (AttributeSet, {"scope": "s", "attributes": []}),
        (Profile, {"id": "profile-1", "userId": "u"}),
        (Auth, {**AUTH, "later": {"than": ["now"]}}),
    ],
)
def test_round_trip_keeps_every_field(model: type[Model], wire: dict[str, Any]) -> None:
    """As an object and as JSON, unknown keys included."""
    read = model.from_dict(wire)
    assert read.to_dict() == wire
    assert model.from_json(read.to_json()) == read
    assert json.loads(read.to_json()) == wire


@pytest.mark.parametrize("value", [1, None, {}, {"a": 1}, [], "x"])
def test_key_named_extra_is_an_unknown_key(value: Any) -> None:
    """Also in a nested model."""
    wire = {**FULL, "extra": value, "permissions": [{"scope": "s", "permissions": {}, "extra": value}]}
    read = Auth.from_dict(wire)
    assert read.extra == {"extra": value}
    assert read.to_dict() == wire


@pytest.mark.parametrize("key", ["user_id", "is_user", "created_at", "profile_id", "expires_at"])
@pytest.mark.parametrize("value", [None, 5, [], "somebody else"])
def test_python_field_name_does_not_bypass_validation(key: str, value: Any) -> None:
    """Only the wire name counts; the Python name is dropped."""
    wire = {name: field for name, field in FULL.items() if name != "profileId"}
    read = Auth.from_dict({**wire, key: value})
    assert read == Auth.from_dict(wire)
    assert read.to_dict() == wire


def test_fields_have_python_names_and_types() -> None:
    """The marshmallow schema has them too."""
    read = Auth.from_dict(FULL)
    assert (read.user_id, read.is_user, read.role) == (AUTH["userId"], True, AuthRole.SUPERUSER)
    assert read.created_at == datetime(2026, 11, 23, 20, 12, 38, 643_000, timezone.utc)
    assert read.expires_at == datetime(2026, 12, 1, tzinfo=timezone.utc)
    assert read.permissions == [PermissionSet.from_dict(PERMISSION)]
    assert Auth.from_dict({**AUTH, "expiresAt": None}).expires_at is None
    assert Auth.from_dict({**AUTH, "x": 1}).extra == {"x": 1}


def without(wire: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a copy of an object without a key."""
    return {name: value for name, value in wire.items() if name != key}


@pytest.mark.parametrize(
    ("model", "wire", "words"),
    [
        (Auth, without(AUTH, "createdAt"), "Auth: createdAt is missing"),
        (Auth, {**AUTH, "userId": None}, "Auth: userId is missing"),
        (Auth, {**AUTH, "scopes": ["a", 5]}, "Auth.scopes[1]: expected text, got int"),
        (Auth, {**AUTH, "scopes": "*"}, "Auth.scopes: expected a list, got str"),
        (Auth, {**AUTH, "isUser": 1}, "Auth.isUser: expected true or false, got int"),
        (AuthToken, {"token": "short"}, "AuthToken.token: at least 32 characters, got 5"),
        (Auth, {**AUTH, "token": ""}, "Auth.token: at least 1 characters, got 0"),
        (Auth, {**AUTH, "token": "x" * 1025}, "Auth.token: at most 1024 characters, got 1025"),
        (Auth, {**AUTH, "createdAt": "yesterday"}, "Auth.createdAt: expected a date such as 2026-01-31T12:00:00.000Z"),
        (Auth, {**AUTH, "createdAt": 5}, "Auth.createdAt: expected a date such as 2026-01-31T12:00:00.000Z"),
        (Auth, {**AUTH, "permissions": [{"scope": "s"}]}, "Auth.permissions[0]: permissions is missing"),
        (Auth, {**FULL, "permissions": [{**PERMISSION, "permissions": {"a": "b"}}]}, None),
        (AuthCredentials, {**CREDENTIALS, "role": ""}, "AuthCredentials.role: at least 1 characters, got 0"),
        (AuthCredentials, {**CREDENTIALS, "role": True}, "AuthCredentials.role: expected text, got bool"),
        (AllowanceRequest, {}, "AllowanceRequest: type is missing"),
        (AllowanceRequest, [], "AllowanceRequest: expected an object, got list"),
        (AuthToken, "text", "AuthToken: expected an object, got str"),
        (AuthToken, None, "AuthToken: expected an object, got NoneType"),
    ],
)
def test_schema_mismatch_is_rejected(model: type[Model], wire: Any, words: str | None) -> None:
    """The error names the place."""
    with pytest.raises(AuthMalformed) as caught:
        model.from_dict(wire)
    expected = words or "Auth.permissions[0].permissions[…]: expected a number, true or false, got str"
    assert str(caught.value) == expected


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 100_000, b"\xff"])
def test_malformed_json_is_rejected(text: str | bytes) -> None:
    """With the same class of error."""
    with pytest.raises(AuthMalformed, match="AuthToken: not JSON"):
        AuthToken.from_json(text)


def test_secrets_appear_in_no_repr_and_no_error() -> None:
    """Tokens, credentials and challenges."""
    secret = "s3cret" * 8
    shown = [
        repr(Auth.from_dict({**AUTH, "token": secret})),
        repr(AuthToken.from_dict({"token": secret})),
        repr(AllowanceResponse.from_dict({"challenge": secret})),
        repr(AuthCredentials.from_dict({**CREDENTIALS, "challenge": secret, "credential": secret})),
    ]
    for wire in ({**AUTH, "createdAt": secret}, {**AUTH, "isUser": secret}, {**AUTH, "token": secret * 100}):
        with pytest.raises(AuthMalformed) as caught:
            Auth.from_dict(wire)
        shown.append(repr(caught.value))
    assert all("s3cret" not in text for text in shown)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T20:12:38.643Z", datetime(2026, 11, 23, 20, 12, 38, 643_000, timezone.utc)),
        ("2026-11-23T22:12:38+02:00", datetime(2026, 11, 23, 20, 12, 38, tzinfo=timezone.utc)),
        ("1970-01-01T00:00:00.1234567Z", datetime(1970, 1, 1, 0, 0, 0, 123_456, timezone.utc)),
    ],
)
def test_date_is_parsed(text: str, moment: datetime) -> None:
    """With any time zone and any fraction."""
    assert parse_date(text, "it") == moment
    assert format_date(moment.astimezone(timezone(timedelta(hours=5)))) == format_date(moment)


@pytest.mark.parametrize(
    "text", ["2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_malformed_date_is_rejected(text: str) -> None:
    """An invalid month or day, or no time zone."""
    with pytest.raises(AuthMalformed, match="it: expected a date"):
        parse_date(text, "it")


def test_naive_datetime_is_not_formatted() -> None:
    """It does not name a point in time."""
    read = Auth.from_dict(AUTH)
    naive = Auth(token=read.token, user_id="u", role="user", type="t", is_user=True, created_at=datetime(2026, 1, 1))
    with pytest.raises(AuthMalformed, match="without a time zone"):
        naive.to_dict()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.slow
@settings(max_examples=examples(60, 300))
@given(st.sampled_from(MODELS), st.dictionaries(st.sampled_from(sorted(FULL)), anything), anything)
def test_arbitrary_object_is_decoded_or_rejected(model: type[Model], changed: dict[str, Any], other: Any) -> None:
    """With the documented error only."""
    for wire in ({**FULL, **CREDENTIALS, **changed}, other):
        try:
            model.from_dict(wire).to_dict()
        except AuthMalformed:
            continue
