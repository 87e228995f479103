"""Authentication of your own HTTP requests: signed requests, and requests with the token of a login."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import requests
from requests.auth import AuthBase

from ..clock import wall_time
from ..errors import AuthMalformed
from .claims import to_key_pair
from .constants import REFRESH_HEADER
from .dates import format_date
from .encoding import parse_json
from .keys import KeyPair, hide
from .login import Login

SIGNATURE_SCHEME = "ED25519-BASIC-SIGNATURE"
TIME_HEADER, NONCE_HEADER = "x-auth-time", "x-auth-nonce"
NONCE_LENGTH = 16
UNAUTHORIZED = 401

_NONCE_ALPHABET = string.ascii_letters + string.digits


class SignatureAuth(AuthBase):
    """Signs each request: ``requests.post(url, json=..., auth=SignatureAuth(key, id))``.

    The signature covers the canonical JSON of the body and of two headers, a time and a nonce; servers accept it for
    60 seconds. A request without a body is signed with ``{}``, as the services of the reference expect.

    Args:
        key: private key, as a `KeyPair` or as text.
        id: credential ID known to the server; ``None`` for the address of the key.
        now: clock, seconds since the epoch.
        nonce: returns a new nonce of 16 characters.
    """

    def __init__(
        self,
        key: KeyPair | str,
        id: str | None = None,
        *,
        now: Callable[[], float] = wall_time,
        nonce: Callable[[], str] | None = None,
    ) -> None:
        key = hide(key)
        self._key = to_key_pair(key)
        self._id = self._key.address if id is None else id
        self._now = now
        self._nonce = nonce or _new_nonce

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the signature headers.

        Raises:
            AuthMalformed: the body is not JSON, or a stream.
        """
        # requests calls this after the body was prepared, so what is signed is what is sent.
        signed_headers = {
            TIME_HEADER: format_date(datetime.fromtimestamp(self._now(), timezone.utc)),
            NONCE_HEADER: self._nonce(),
        }
        signature = self._key.sign({**_signed_body(request), "headers": signed_headers})
        request.headers.update(signed_headers)
        request.headers["authorization"] = f"{SIGNATURE_SCHEME} Credential={self._id} Signature={signature}"
        return request

    def __repr__(self) -> str:
        return f"<SignatureAuth {self._id}>"


class TokenAuth(AuthBase):
    """Sends the token of a login with each request, and passes refreshed tokens back to the login.

    ``requests.get(url, auth=TokenAuth(login))``; the token is sent to the host of that URL only, and only that host can
    replace it. After a 401 response the login drops the token, and the next request uses a new one.

    Args:
        login: supplies the token; any number of requests, connections and threads may share it.
    """

    def __init__(self, login: Login) -> None:
        self._login = login

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the authorization header; raises what `Login.token` raises."""
        token = request.headers["authorization"] = self._login.token(reuse=True)

        def on_response(response: requests.Response, *_: Any, **__: Any) -> None:
            # A redirect to another host comes here too, without the token: that host neither replaces nor refuses it.
            if response.request.headers.get("authorization") != token:
                return
            refreshed = response.headers.get(REFRESH_HEADER)
            if refreshed:
                self._login.refresh(refreshed)
            # The token of this very request: the login may have a newer one by now, which must not be dropped.
            elif response.status_code == UNAUTHORIZED:
                self._login.refused(token)

        request.register_hook("response", on_response)  # type: ignore[no-untyped-call]
        return request


def _signed_body(request: requests.PreparedRequest) -> dict[str, Any]:
    """Return the part of the signed object that holds the body."""
    if not request.body:
        return {"body": {}}
    # A stream can be read once: what is read to sign it could not be sent.
    if not isinstance(request.body, (str, bytes)):
        raise AuthMalformed("cannot sign a streamed body: send it as json=")
    try:
        # Parsed, not signed as text: the server signs its own canonical JSON of the body that it parsed.
        body = parse_json(request.body)
    except ValueError:
        raise AuthMalformed("cannot sign a body that is not JSON") from None
    # The guard of the reference verifies `req.body ?? {}`: no body, and null, count as an empty object.
    return {"body": {} if body is None else body}


def _new_nonce() -> str:
    return "".join(secrets.choice(_NONCE_ALPHABET) for _ in range(NONCE_LENGTH))
