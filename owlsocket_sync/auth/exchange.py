"""One step of a login over HTTP: a question in JSON, its answer, and every way in which that can fail.

What an HTTP library raises may hold the question, and the question holds secrets. So nothing here is raised while such
an error is being handled: no chain leads back to it.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from ..deadline import Deadline
from ..errors import (
    SEPARATOR,
    AccessError,
    AuthError,
    AuthFailedError,
    LoginTimeout,
    ResilientError,
    SocketConnectionError,
)
from ..urls import redact, redact_text
from .words import REFRESH_HEADER

ANSWER_BYTES = 1_048_576
CHUNK_BYTES = 16_384
SHOWN = 200
SECRETS = ("credential", "challenge", "token")
TEMPORARY = frozenset({429, 502, 503, 504})

_BY_STATUS: Mapping[int, Any] = {401: AuthFailedError, 403: AccessError}


@dataclass(frozen=True)
class Answer:
    """What a step gave.

    Attributes:
        fields: the object that came.
        refreshed: a newer token that came along, or ``None``.
    """

    fields: dict[str, Any]
    refreshed: str | None


class ModernTls(HTTPAdapter):
    """Certificates and host names are checked; TLS 1.2 or newer."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pool, with our context."""
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        super().init_poolmanager(*arguments, ssl_context=context, **options)


def new_session() -> requests.Session:
    """A session of our own."""
    session = requests.Session()
    session.mount("https://", ModernTls())
    return session


def ask(session: requests.Session, base: str, step: str, question: Mapping[str, Any], deadline: Deadline) -> Answer:
    """Take a step: POST a question, and read the object that answers it.

    Args:
        session: what to send with.
        base: the URL of the service.
        step: the path of the step, which names it in errors.
        question: becomes JSON; no credential, challenge or token in it is repeated in an error.
        deadline: over all of it.

    Raises:
        AuthError: the step was refused, or answered by something else; ``step`` and ``status`` tell more.
        SocketConnectionError: the service cannot be reached.
    """
    outcome = _post(session, base, step, question, deadline)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _post(
    session: requests.Session, base: str, step: str, question: Mapping[str, Any], deadline: Deadline
) -> Answer | ResilientError:
    """Do it, and return what went wrong."""
    if deadline.expired():
        return _too_late(step, deadline)
    secrets = [question[name] for name in SECRETS if name in question]
    host = urlsplit(base).netloc
    try:
        response = session.post(
            base + step,
            json=dict(question),
            timeout=deadline.wait_seconds(),
            allow_redirects=False,
            stream=True,
        )
        with response:
            return _read(response, step, secrets, deadline)
    except requests.Timeout:
        return _too_late(step, deadline)
    except requests.exceptions.SSLError as error:
        return told(AuthError(f"the certificate of {host} does not hold: {_cause(error)}"), step)
    except (requests.exceptions.ContentDecodingError, requests.exceptions.InvalidHeader) as error:
        return told(AuthError(f"the answer cannot be read ({type(error).__name__})"), step)
    except requests.RequestException as error:
        if deadline.expired():
            return _too_late(step, deadline)
        return SocketConnectionError(f"login step {step}: {host} cannot be reached: {_cause(error)}")


def _cause(error: Exception) -> str:
    """The words of the innermost error, which names no URL."""
    inner: Any = error
    while isinstance(inner, Exception):
        reason = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(reason, Exception):
            break
        inner = reason
    text = str(inner).rpartition("connection: ")[2]
    return text[:SHOWN] or type(error).__name__


def _too_late(step: str, deadline: Deadline) -> AuthError:
    return told(LoginTimeout(f"no answer within {deadline.seconds:g} s"), step)


def told(error: AuthError, step: str, status: int | None = None) -> AuthError:
    """The error, with where it happened."""
    error.step, error.status = step, status
    return error


def _read(response: requests.Response, step: str, secrets: list[str], deadline: Deadline) -> Answer | AuthError:
    status = response.status_code
    if status in range(300, 400):
        return told(AuthError(_redirect_words(response)), step, status)
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        if deadline.expired():
            return _too_late(step, deadline)
        if len(body) > ANSWER_BYTES:
            break
    if not response.ok:
        return read_refusal(bytes(body), step, status, secrets)
    if len(body) > ANSWER_BYTES:
        return told(AuthError(f"the answer has more than {ANSWER_BYTES} bytes"), step, status)
    fields = _read_object(bytes(body))
    if fields is None:
        return told(AuthError(f"the answer is no JSON object, but {_kind(bytes(body))}"), step, status)
    return Answer(fields, response.headers.get(REFRESH_HEADER))


def _redirect_words(response: requests.Response) -> str:
    place = redact(urljoin(response.url, response.headers.get("location", "")))
    return f"the server redirects to {place[:SHOWN]}, and a login follows no redirect: name that place as the URL"


def read_refusal(body: bytes, step: str, status: int, secrets: list[str]) -> AuthError:
    """The error in the answer to a step that was refused; what the body repeats of our secrets is taken out."""
    text = redact_text(body[: 4 * CHUNK_BYTES].decode("utf-8", "replace"), *secrets)
    if SEPARATOR in text:
        error = ResilientError.unmarshal(text)
        if isinstance(error, AuthError):
            return told(error, step, status)
        refusal = AuthError(f"refused: {error.message[:SHOWN]}")
        refusal.__cause__ = error
        return told(refusal, step, status)
    fields = _read_object(text.encode("utf-8", "replace"))
    words = fields.get("message") if fields else None
    if not isinstance(words, str):
        words = f"HTTP {status} with {_kind(body)}"
    refusal = _BY_STATUS.get(status, AuthError)(f"refused: {words[:SHOWN]}")
    refusal.retryable = status in TEMPORARY
    return told(refusal, step, status)


def _read_object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _kind(body: bytes) -> str:
    """What a body seems to be."""
    start = body[:SHOWN].lstrip().lower()
    if not start:
        return "nothing at all"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return "something else"
