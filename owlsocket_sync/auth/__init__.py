"""Authentication: keys, envelopes, models, logins and guards; needs the extra ``auth``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import MissingExtra
from ..lazy import lazy_exports

if TYPE_CHECKING:
    from ..states import AuthStepResult as AuthStepResult
    from .authority import Authority as Authority
    from .authority import User as User
    from .constants import ALL_SCOPES as ALL_SCOPES
    from .constants import AUTH_HEADER as AUTH_HEADER
    from .constants import AUTH_QUERY as AUTH_QUERY
    from .constants import AUTH_SCOPE as AUTH_SCOPE
    from .constants import ENTITY_QUERY as ENTITY_QUERY
    from .constants import GUEST_ID as GUEST_ID
    from .constants import PROFILE_QUERY as PROFILE_QUERY
    from .constants import AuthenticationType as AuthenticationType
    from .constants import AuthorizationType as AuthorizationType
    from .constants import AuthRole as AuthRole
    from .constants import EnvelopeKind as EnvelopeKind
    from .envelope import DEFAULT_TTL as DEFAULT_TTL
    from .envelope import Envelope as Envelope
    from .guard import Guard as Guard
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
    from .redis_replay import RedisReplayStore as RedisReplayStore
    from .replay import MemoryReplayStore as MemoryReplayStore
    from .replay import ReplayStore as ReplayStore
    from .routes import login_app as login_app
    from .signature import SignatureAuth as SignatureAuth
    from .signature import TokenAuth as TokenAuth
    from .stage_login import StageLogin as StageLogin

_EXPORTS = {
    "authority": ("Authority", "User"),
    "envelope": ("DEFAULT_TTL", "Envelope"),
    "guard": ("Guard", "AuthStepResult"),
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
    "redis_replay": ("RedisReplayStore",),
    "replay": ("MemoryReplayStore", "ReplayStore"),
    "stage_login": ("StageLogin",),
    "constants": (
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

__all__ = sorted(name for names in _EXPORTS.values() for name in names)
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

NEEDED = ("cryptography", "Crypto", "base58", "rfc8785", "requests", "dataclasses_json")

# On import of the package, not of a name: the error says what to install, where an ImportError of a library would not.
_missing = next((name for name in NEEDED if find_spec(name) is None), None)
if _missing:
    raise MissingExtra(
        f"owlsocket_sync.auth needs the package {_missing}: python -m pip install 'owlsocket-sync[auth]'", _missing
    )
