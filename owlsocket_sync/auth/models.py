"""What travels in tokens and logins, as ``dataclasses-json`` classes with the wire's camelCase.

``from_dict`` and ``from_json`` check what comes in against the reference's schemas, before anything is made of it. Keys
that nobody here knows are let through: they are kept in ``extra`` and written again, so that what a newer peer adds
neither breaks a login nor gets lost. Dates are `datetime` with a time zone here, and ISO text there. Optional fields
that are ``None`` are left out of what is written. No repr shows a token, a credential or a challenge.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from dataclasses_json import CatchAll, DataClassJsonMixin, LetterCase, Undefined, config
from marshmallow import fields as marshmallow_fields

from ..errors import AuthMalformed
from .checks import Check, check_object, date, each, every_value, flag, number_or_flag, text
from .dates import read_date, write_date
from .encoding import read_json

M = TypeVar("M", bound="Model")

CHECK = "owlsocket_check"


def _field(check: Check, *, secret: bool = False, optional: bool = False, **settings: Any) -> Any:
    """A field with its check; one that is not optional is required, here and on the wire."""
    options: dict[str, Any] = {"default": None} if optional else {}
    metadata = {CHECK: check, **config(exclude=_is_none if optional else None, **settings)}
    return field(repr=not secret, metadata=metadata, **options)


def _is_none(value: object) -> bool:
    return value is None


def _moment(*, optional: bool = False) -> Any:
    def write(value: datetime | None) -> str | None:
        return None if value is None else write_date(value)

    def read(value: str | None) -> datetime | None:
        return None if value is None else read_date(value, "the date")

    column = marshmallow_fields.DateTime(format="iso", allow_none=optional)
    return _field(date, optional=optional, encoder=write, decoder=read, mm_field=column)


class Model(DataClassJsonMixin):
    """What all models have in common."""

    dataclass_json_config = config(letter_case=LetterCase.CAMEL, undefined=Undefined.INCLUDE)["dataclasses_json"]

    @classmethod
    def from_dict(cls: type[M], kvs: Any, *, infer_missing: bool = False) -> M:
        """Make one of an object, when it is one.

        Raises:
            AuthMalformed: it is not; the message says where, and shows no value.
        """
        check_model(cls, kvs, cls.__name__)
        return super().from_dict(_gathered(cls, kvs), infer_missing=infer_missing)

    @classmethod
    def from_json(cls: type[M], s: str | bytes | bytearray, **options: Any) -> M:
        """Make one of its JSON; raises what `from_dict` raises."""
        try:
            value = read_json(bytes(s) if isinstance(s, bytearray) else s)
        except ValueError:
            raise AuthMalformed(f"{cls.__name__}: no JSON") from None
        return cls.from_dict(value, infer_missing=bool(options.get("infer_missing")))


def check_model(cls: type[Model], value: Any, where: str) -> None:
    """Raise `AuthMalformed` unless a value has the shape of a model."""
    known = _known(cls)
    checks = {name: cast(Check, one.metadata[CHECK]) for name, one in known.items()}
    check_object(value, where, checks, {name for name, one in known.items() if one.default is dataclasses.MISSING})


def _known(cls: type[Model]) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a model, by their names on the wire."""
    fields = [one for one in dataclasses.fields(cast(Any, cls)) if CHECK in one.metadata]
    return {LetterCase.CAMEL(one.name): one for one in fields}  # type: ignore[no-untyped-call]


def _gathered(cls: type[Model], value: dict[str, Any]) -> dict[str, Any]:
    """A checked object, its unknown keys under ``extra``.

    dataclasses-json would choke on a key that is called ``extra``, and take one that is the name of a field in Python
    for that field, past its check, when it reads and when it writes: such a key is left out.
    """
    known = _known(cls)
    gathered = {key: one for key, one in value.items() if key in known}
    for key, listed in gathered.items():
        inner = _MODELS_IN.get(known[key].metadata[CHECK])
        if inner is not None and listed is not None:
            gathered[key] = [_gathered(inner, one) for one in listed]
    ours = {one.name for one in known.values()}
    return {**gathered, "extra": {key: one for key, one in value.items() if key not in known and key not in ours}}


@dataclass(frozen=True, kw_only=True)
class PermissionSet(Model):
    """What somebody may do within a scope."""

    scope: str = _field(text(1, 32))
    permissions: dict[str, Any] = _field(every_value(number_or_flag))
    title: str | None = _field(text(1, 128), optional=True)
    resources: list[str] | None = _field(each(text(8, 128)), optional=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AttributeSet(Model):
    """What is said of somebody within a scope."""

    scope: str = _field(text(1, 32))
    attributes: list[str] = _field(each(text(8, 128)))
    extra: CatchAll = field(default_factory=dict, repr=False)


_PERMISSIONS = each(lambda value, where: check_model(PermissionSet, value, where))
_ATTRIBUTES = each(lambda value, where: check_model(AttributeSet, value, where))
_MODELS_IN: dict[Check, type[Model]] = {_PERMISSIONS: PermissionSet, _ATTRIBUTES: AttributeSet}


@dataclass(frozen=True, kw_only=True)
class AuthPayload(Model):
    """What may be said of somebody, whatever the occasion."""

    source: str | None = _field(text(1, 1024), optional=True)
    profile_id: str | None = _field(text(1, 128), optional=True)
    entity_id: str | None = _field(text(3, 256), optional=True)
    expires_at: datetime | None = _moment(optional=True)
    groups: list[str] | None = _field(each(text(1, 128)), optional=True)
    permissions: list[PermissionSet] | None = _field(_PERMISSIONS, optional=True)
    attributes: list[AttributeSet] | None = _field(_ATTRIBUTES, optional=True)
    permissioned: bool | None = _field(flag, optional=True)
    denormalized: bool | None = _field(flag, optional=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AllowanceRequest(AuthPayload):
    """Asks for a challenge."""

    type: str = _field(text(1, 64))
    role: str | None = _field(text(1, 32), optional=True)
    user_id: str | None = _field(text(1, 128), optional=True)
    scopes: list[str] | None = _field(each(text(1, 32)), optional=True)


@dataclass(frozen=True, kw_only=True)
class AllowanceResponse(Model):
    """A challenge: an envelope, whose text is to be signed."""

    challenge: str = _field(text(32, 1024), secret=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AuthToken(Model):
    """A token, one-time or bearer."""

    token: str = _field(text(32, 1024), secret=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AuthCredentials(AuthPayload):
    """Answers a challenge; also what a one-time token holds, with a nonce of any length in the challenge's place."""

    challenge: str = _field(text(1, 1024), secret=True)
    credential: str = _field(text(1, 4096), secret=True)
    type: str = _field(text(1, 64))
    role: str = _field(text(1, 32))
    scopes: list[str] = _field(each(text(1, 32)))
    user_id: str | None = _field(text(1, 128), optional=True)
    public_key: str | None = _field(text(16, 1024), optional=True)


@dataclass(frozen=True, kw_only=True)
class Auth(AuthPayload):
    """Who somebody is, as a bearer token says it; its ``token`` is a nonce, whose length servers keep to no schema."""

    token: str = _field(text(1, 1024), secret=True)
    user_id: str = _field(text(1, 128))
    role: str = _field(text(1, 32))
    type: str = _field(text(1, 64))
    is_user: bool = _field(flag)
    created_at: datetime = _moment()
    scopes: list[str] | None = _field(each(text(1, 32)), optional=True)


@dataclass(frozen=True, kw_only=True)
class Profile(Model):
    """One of the faces of a user; the reference has no schema for it, so only its identity is asked for."""

    id: str = _field(text(1, 128))
    user_id: str | None = _field(text(1, 128), optional=True)
    entity_id: str | None = _field(text(3, 256), optional=True)
    name: str | None = _field(text(), optional=True)
    scopes: list[str] | None = _field(each(text(1, 32)), optional=True)
    groups: list[str] | None = _field(each(text(1, 128)), optional=True)
    permissions: list[PermissionSet] | None = _field(_PERMISSIONS, optional=True)
    attributes: list[AttributeSet] | None = _field(_ATTRIBUTES, optional=True)
    extra: CatchAll = field(default_factory=dict, repr=False)
