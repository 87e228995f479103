"""Models: the wire's shapes, checked on the way in, with nothing lost on the way through."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from helpers import load
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
from owlsocket_sync.auth.dates import read_date, write_date
from owlsocket_sync.auth.models import Model
from owlsocket_sync.errors import AuthMalformed

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
def test_an_enum_has_the_words_of_the_wire(ours: Any, theirs: str) -> None:
    """All of them, no other, and each prints as itself."""
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
def test_a_constant_has_its_value(name: str) -> None:
    """As recorded."""
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
def test_a_model_goes_through_unchanged(model: type[Model], wire: dict[str, Any]) -> None:
    """As an object and as JSON; keys that nobody here knows come along."""
    read = model.from_dict(wire)
    assert read.to_dict() == wire
    assert model.from_json(read.to_json()) == read
    assert json.loads(read.to_json()) == wire


@pytest.mark.parametrize("value", [1, None, {}, {"a": 1}, [], "x"])
def test_a_key_that_is_called_extra_is_one_like_others(value: Any) -> None:
    """It names nothing that anybody here knows, within a list either."""
    wire = {**FULL, "extra": value, "permissions": [{"scope": "s", "permissions": {}, "extra": value}]}
    read = Auth.from_dict(wire)
    assert read.extra == {"extra": value}
    assert read.to_dict() == wire


@pytest.mark.parametrize("key", ["user_id", "is_user", "created_at", "profile_id", "expires_at"])
@pytest.mark.parametrize("value", [None, 5, [], "somebody else"])
def test_the_name_of_a_field_in_python_is_no_way_past_its_check(key: str, value: Any) -> None:
    """The wire's name alone tells; the other one is left out."""
    wire = {name: one for name, one in FULL.items() if name != "profileId"}
    read = Auth.from_dict({**wire, key: value})
    assert read == Auth.from_dict(wire)
    assert read.to_dict() == wire


def test_fields_have_pythons_names_and_types() -> None:
    """And the schema of marshmallow knows them too."""
    read = Auth.from_dict(FULL)
    assert (read.user_id, read.is_user, read.role) == (AUTH["userId"], True, AuthRole.SUPERUSER)
    assert read.created_at == datetime(2026, 11, 23, 20, 12, 38, 643_000, timezone.utc)
    assert read.expires_at == datetime(2026, 12, 1, tzinfo=timezone.utc)
    assert read.permissions == [PermissionSet.from_dict(PERMISSION)]
    assert Auth.from_dict({**AUTH, "expiresAt": None}).expires_at is None
    assert Auth.from_dict({**AUTH, "x": 1}).extra == {"x": 1}


def without(wire: dict[str, Any], key: str) -> dict[str, Any]:
    """An object with one key less."""
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
def test_what_is_of_another_shape_is_refused(model: type[Model], wire: Any, words: str | None) -> None:
    """And the error says where."""
    with pytest.raises(AuthMalformed) as caught:
        model.from_dict(wire)
    expected = words or "Auth.permissions[0].permissions[…]: expected a number, true or false, got str"
    assert str(caught.value) == f"auth:{expected}"


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 100_000, b"\xff"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    """With the same error."""
    with pytest.raises(AuthMalformed, match="AuthToken: no JSON"):
        AuthToken.from_json(text)


def test_no_repr_and_no_error_shows_a_secret() -> None:
    """Tokens, credentials and challenges stay where they are."""
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
def test_a_date_is_the_moment_that_it_names(text: str, moment: datetime) -> None:
    """Whatever its zone and its fraction."""
    assert read_date(text, "it") == moment
    assert write_date(moment.astimezone(timezone(timedelta(hours=5)))) == write_date(moment)


@pytest.mark.parametrize(
    "text", ["2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_what_names_no_moment_is_refused(text: str) -> None:
    """A month that there is not, a day, a time without a zone."""
    with pytest.raises(AuthMalformed, match="it: expected a date"):
        read_date(text, "it")


def test_a_moment_without_a_zone_is_not_written() -> None:
    """It could be any of a day's."""
    read = Auth.from_dict(AUTH)
    naive = Auth(token=read.token, user_id="u", role="user", type="t", is_user=True, created_at=datetime(2026, 1, 1))
    with pytest.raises(AuthMalformed, match="without a time zone"):
        naive.to_dict()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(MODELS), st.dictionaries(st.sampled_from(sorted(FULL)), anything), anything)
def test_anything_is_a_model_or_refused(model: type[Model], changed: dict[str, Any], other: Any) -> None:
    """With the one documented error."""
    for wire in ({**FULL, **CREDENTIALS, **changed}, other):
        try:
            model.from_dict(wire).to_dict()
        except AuthMalformed:
            continue
