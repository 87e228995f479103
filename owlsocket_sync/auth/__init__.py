"""Who speaks: keys, envelopes, models, logins and guards; needs the extra ``auth``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import SocketInitializationError
from ..lazy import lazily

if TYPE_CHECKING:
    from .authority import Authority as Authority
    from .authority import User as User
    from .envelope import DEFAULT_TTL as DEFAULT_TTL
    from .envelope import Envelope as Envelope
    from .guard import Guard as Guard
    from .guard import Step as Step
    from .keys import KeyPair as KeyPair
    from .login import Login as Login
    from .models import AllowanceRequest as AllowanceRequest
    from .models import AllowanceResponse as AllowanceResponse
    from .models import AttributeSet as AttributeSet
    from .models import Auth as Auth
    from .models import AuthCredentials as AuthCredentials
    from .models import AuthToken as AuthToken
    from .models import PermissionSet as PermissionSet
    from .models import Profile as Profile
    from .routes import login_app as login_app
    from .signature import SignatureAuth as SignatureAuth
    from .signature import TokenAuth as TokenAuth
    from .spent import Spent as Spent
    from .spent import SpentStore as SpentStore
    from .stage_login import StageLogin as StageLogin
    from .words import ALL_SCOPES as ALL_SCOPES
    from .words import AUTH_HEADER as AUTH_HEADER
    from .words import AUTH_QUERY as AUTH_QUERY
    from .words import AUTH_SCOPE as AUTH_SCOPE
    from .words import ENTITY_QUERY as ENTITY_QUERY
    from .words import GUEST_ID as GUEST_ID
    from .words import PROFILE_QUERY as PROFILE_QUERY
    from .words import AuthenticationType as AuthenticationType
    from .words import AuthorizationType as AuthorizationType
    from .words import AuthRole as AuthRole
    from .words import EnvelopeKind as EnvelopeKind

_HOMES = {
    "authority": ("Authority", "User"),
    "envelope": ("DEFAULT_TTL", "Envelope"),
    "guard": ("Guard", "Step"),
    "keys": ("KeyPair",),
    "login": ("Login",),
    "models": (
        "AllowanceRequest",
        "AllowanceResponse",
        "AttributeSet",
        "Auth",
        "AuthCredentials",
        "AuthToken",
        "PermissionSet",
        "Profile",
    ),
    "routes": ("login_app",),
    "signature": ("SignatureAuth", "TokenAuth"),
    "spent": ("Spent", "SpentStore"),
    "stage_login": ("StageLogin",),
    "words": (
        "ALL_SCOPES",
        "AUTH_HEADER",
        "AUTH_QUERY",
        "AUTH_SCOPE",
        "AuthRole",
        "AuthenticationType",
        "AuthorizationType",
        "ENTITY_QUERY",
        "EnvelopeKind",
        "GUEST_ID",
        "PROFILE_QUERY",
    ),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)
__getattr__, __dir__ = lazily(__name__, _HOMES)

_missing = next((name for name in ("cryptography", "Crypto", "base58", "rfc8785") if find_spec(name) is None), None)
if _missing:
    raise SocketInitializationError(
        f"authentication needs packages that are not here ({_missing}): python -m pip install 'owlsocket-sync[auth]'"
    )
