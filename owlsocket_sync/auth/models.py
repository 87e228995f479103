"""Models of tokens and logins, as ``dataclasses-json`` classes; camelCase on the wire.

``from_dict`` and ``from_json`` validate against the reference's schemas before they build a model. Unknown keys are
kept in ``extra`` and written again. Dates are `datetime` with a time zone here, and ISO text on the wire. Optional
fields that are ``None`` are not written. No repr shows a token, a credential or a challenge.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from dataclasses_json import CatchAll, DataClassJsonMixin, LetterCase, Undefined, config
from marshmallow import fields as marshmallow_fields

from ..errors import AuthMalformed
from .dates import format_date, parse_date
from .encoding import parse_json
from .validation import Check, boolean, check_object, date, list_of, mapping_of, number_or_boolean, text

ModelT = TypeVar("ModelT", bound="Model")

CHECK = "owlsocket_check"


def _field(check: Check, *, secret: bool = False, optional: bool = False, **settings: Any) -> Any:
    """Declare a field with its check; a field that is not optional is required, here and on the wire."""
    options: dict[str, Any] = {"default": None} if optional else {}
    metadata = {CHECK: check, **config(exclude=_is_none if optional else None, **settings)}
    return field(repr=not secret, metadata=metadata, **options)


def _is_none(value: object) -> bool:
    return value is None


def _date_field(*, optional: bool = False) -> Any:
    def write(value: datetime | None) -> str | None:
        return None if value is None else format_date(value)

    def read(value: str | None) -> datetime | None:
        return None if value is None else parse_date(value, "the date")

    # For schema() of dataclasses-json, which uses neither the encoder nor the decoder.
    column = marshmallow_fields.DateTime(format="iso", allow_none=optional)
    return _field(date, optional=optional, encoder=write, decoder=read, mm_field=column)


class Model(DataClassJsonMixin):
    """Base class of the models: validation, and unknown keys in ``extra``."""

    dataclass_json_config = config(letter_case=LetterCase.CAMEL, undefined=Undefined.INCLUDE)["dataclasses_json"]

    @classmethod
    def from_dict(cls: type[ModelT], kvs: Any, *, infer_missing: bool = False) -> ModelT:
        """Build a model from a decoded JSON object.

        Raises:
            AuthMalformed: the object does not match the schema; the message names the place and shows no value.
        """
        # Validated first: dataclasses-json converts silently, raises whatever its decoders raise, and its messages
        # contain values.
        check_model(cls, kvs, cls.__name__)
        return super().from_dict(_collect_extra(cls, kvs), infer_missing=infer_missing)

    @classmethod
    def from_json(cls: type[ModelT], s: str | bytes | bytearray, **options: Any) -> ModelT:
        """Build a model from JSON text; raises what `from_dict` raises."""
        try:
            value = parse_json(bytes(s) if isinstance(s, bytearray) else s)
        except ValueError:
            raise AuthMalformed(f"{cls.__name__}: not JSON") from None
        return cls.from_dict(value, infer_missing=bool(options.get("infer_missing")))


def check_model(cls: type[Model], value: Any, where: str) -> None:
    """Validate a decoded JSON object against the schema of a model; raise `AuthMalformed` if it does not match."""
    known = _wire_fields(cls)
    checks = {name: cast(Check, model_field.metadata[CHECK]) for name, model_field in known.items()}
    required = {name for name, model_field in known.items() if model_field.default is dataclasses.MISSING}
    check_object(value, where, checks, required)


def _wire_fields(cls: type[Model]) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a model by their names on the wire; ``extra`` is not one of them."""
    fields = [model_field for model_field in dataclasses.fields(cast(Any, cls)) if CHECK in model_field.metadata]
    return {LetterCase.CAMEL(model_field.name): model_field for model_field in fields}  # type: ignore[no-untyped-call]


def _collect_extra(cls: type[Model], value: dict[str, Any]) -> dict[str, Any]:
    """Return a validated object with its unknown keys moved to ``extra``, at every level."""
    known = _wire_fields(cls)
    collected = {key: item for key, item in value.items() if key in known}
    for key, items in collected.items():
        inner = _MODELS_IN.get(known[key].metadata[CHECK])
        if inner is not None and items is not None:
            collected[key] = [_collect_extra(inner, item) for item in items]
    # Dropped: keys spelled like a Python field ("user_id" beside "userId"), which dataclasses-json takes for that
    # field when it reads and when it writes, past the check. A key named "extra" makes it fail, unless it is nested
    # in our "extra".
    python_names = {model_field.name for model_field in known.values()}
    extra = {key: item for key, item in value.items() if key not in known and key not in python_names}
    return {**collected, "extra": extra}


@dataclass(frozen=True, kw_only=True)
class PermissionSet(Model):
    """Permissions within a scope."""

    scope: str = _field(text(1, 32))
    permissions: dict[str, Any] = _field(mapping_of(number_or_boolean))
    title: str | None = _field(text(1, 128), optional=True)
    resources: list[str] | None = _field(list_of(text(8, 128)), optional=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AttributeSet(Model):
    """Attributes within a scope."""

    scope: str = _field(text(1, 32))
    attributes: list[str] = _field(list_of(text(8, 128)))
    extra: CatchAll = field(default_factory=dict, repr=False)


# One check object per nested model: _collect_extra() recognises nested models by the identity of their check.
_PERMISSIONS = list_of(lambda value, where: check_model(PermissionSet, value, where))
_ATTRIBUTES = list_of(lambda value, where: check_model(AttributeSet, value, where))
_MODELS_IN: dict[Check, type[Model]] = {_PERMISSIONS: PermissionSet, _ATTRIBUTES: AttributeSet}


@dataclass(frozen=True, kw_only=True)
class AuthPayload(Model):
    """Fields that identities and credentials share."""

    source: str | None = _field(text(1, 1024), optional=True)
    profile_id: str | None = _field(text(1, 128), optional=True)
    entity_id: str | None = _field(text(3, 256), optional=True)
    expires_at: datetime | None = _date_field(optional=True)
    groups: list[str] | None = _field(list_of(text(1, 128)), optional=True)
    permissions: list[PermissionSet] | None = _field(_PERMISSIONS, optional=True)
    attributes: list[AttributeSet] | None = _field(_ATTRIBUTES, optional=True)
    permissioned: bool | None = _field(boolean, optional=True)
    denormalized: bool | None = _field(boolean, optional=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AllowanceRequest(AuthPayload):
    """Request for a challenge."""

    type: str = _field(text(1, 64))
    role: str | None = _field(text(1, 32), optional=True)
    user_id: str | None = _field(text(1, 128), optional=True)
    scopes: list[str] | None = _field(list_of(text(1, 32)), optional=True)


@dataclass(frozen=True, kw_only=True)
class AllowanceResponse(Model):
    """A challenge: a wrapped envelope whose text is to be signed."""

    challenge: str = _field(text(32, 1024), secret=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AuthToken(Model):
    """A one-time token or a bearer token."""

    token: str = _field(text(32, 1024), secret=True)
    extra: CatchAll = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class AuthCredentials(AuthPayload):
    """Credentials for a challenge; also the content of a one-time token, where ``challenge`` is a nonce."""

    # Not text(32, 1024) as in AllowanceResponse: services put nonces of any length here.
    challenge: str = _field(text(1, 1024), secret=True)
    credential: str = _field(text(1, 4096), secret=True)
    type: str = _field(text(1, 64))
    role: str = _field(text(1, 32))
    scopes: list[str] = _field(list_of(text(1, 32)))
    user_id: str | None = _field(text(1, 128), optional=True)
    public_key: str | None = _field(text(16, 1024), optional=True)


@dataclass(frozen=True, kw_only=True)
class Auth(AuthPayload):
    """An identity: the content of a bearer token, where ``token`` is a nonce."""

    # Not text(32, 1024) as in AuthToken: services put nonces of any length here.
    token: str = _field(text(1, 1024), secret=True)
    user_id: str = _field(text(1, 128))
    role: str = _field(text(1, 32))
    type: str = _field(text(1, 64))
    is_user: bool = _field(boolean)
    created_at: datetime = _date_field()
    scopes: list[str] | None = _field(list_of(text(1, 32)), optional=True)


@dataclass(frozen=True, kw_only=True)
class Profile(Model):
    """A profile of a user."""

    # The reference has no schema for profiles: only the ID is required.
    id: str = _field(text(1, 128))
    user_id: str | None = _field(text(1, 128), optional=True)
    entity_id: str | None = _field(text(3, 256), optional=True)
    name: str | None = _field(text(), optional=True)
    scopes: list[str] | None = _field(list_of(text(1, 32)), optional=True)
    groups: list[str] | None = _field(list_of(text(1, 128)), optional=True)
    permissions: list[PermissionSet] | None = _field(_PERMISSIONS, optional=True)
    attributes: list[AttributeSet] | None = _field(_ATTRIBUTES, optional=True)
    extra: CatchAll = field(default_factory=dict, repr=False)
