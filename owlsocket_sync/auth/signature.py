"""Who speaks, for requests of your own over HTTP: signed ones, and ones with the token of a login."""

from __future__ import annotations

import json
import secrets
import string
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import requests
from requests.auth import AuthBase

from ..errors import AuthMalformed
from .dates import write_date
from .keys import KeyPair
from .login import Login
from .proof import key_pair
from .words import REFRESH_HEADER

SIGNATURE_SCHEME = "ED25519-BASIC-SIGNATURE"
TIME_HEADER, NONCE_HEADER = "x-auth-time", "x-auth-nonce"
NONCE_CHARACTERS = 16
UNAUTHORIZED = 401

_ALPHABET = string.ascii_letters + string.digits


class SignatureAuth(AuthBase):
    """Signs each request: ``requests.post(url, json=..., auth=SignatureAuth(key, id))``.

    What is signed is the canonical JSON of the body and of two headers, a time and a nonce; a server takes it for 60
    seconds. A request without a body is signed without one.

    Args:
        key: the private key, as a `KeyPair` or as text.
        id: who signs, as the server knows them; ``None`` for the address of the key.
        now: seconds since the epoch.
        nonce: gives a new nonce of 16 characters.
    """

    def __init__(
        self,
        key: KeyPair | str,
        id: str | None = None,
        *,
        now: Callable[[], float] = time.time,
        nonce: Callable[[], str] | None = None,
    ) -> None:
        self._key = key_pair(key)
        self._id = self._key.address if id is None else id
        self._now = now
        self._nonce = nonce or _new_nonce

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the headers.

        Raises:
            AuthMalformed: the body is no JSON.
        """
        signed = {
            TIME_HEADER: write_date(datetime.fromtimestamp(self._now(), timezone.utc)),
            NONCE_HEADER: self._nonce(),
        }
        signature = self._key.sign({**_body_of(request), "headers": signed})
        request.headers.update(signed)
        request.headers["authorization"] = f"{SIGNATURE_SCHEME} Credential={self._id} Signature={signature}"
        return request

    def __repr__(self) -> str:
        return f"<SignatureAuth {self._id}>"


class TokenAuth(AuthBase):
    """Sends the token of a login along, and gives the login a newer one that comes back.

    ``requests.get(url, auth=TokenAuth(login))``; the token goes to that URL's host alone. One that the
    server refuses is forgotten, so that the next request brings another.
    """

    def __init__(self, login: Login) -> None:
        self._login = login

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header; raises what `Login.token` raises."""
        token = request.headers["authorization"] = self._login.token(reuse=True)

        def look(response: requests.Response, *_: Any, **__: Any) -> None:
            newer = response.headers.get(REFRESH_HEADER)
            if newer:
                self._login.refresh(newer)
            elif response.status_code == UNAUTHORIZED:
                self._login.refused(token)

        request.register_hook("response", look)  # type: ignore[no-untyped-call]
        return request


def _body_of(request: requests.PreparedRequest) -> dict[str, Any]:
    """The body as it is signed."""
    if not request.body:
        return {}
    if not isinstance(request.body, (str, bytes)):
        raise AuthMalformed("a body that is a stream cannot be signed: send it as json=")
    try:
        return {"body": json.loads(request.body)}
    except (ValueError, RecursionError):
        raise AuthMalformed("the body is no JSON, and only JSON can be signed") from None


def _new_nonce() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(NONCE_CHARACTERS))
