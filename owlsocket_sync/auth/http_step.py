"""One login step over HTTP: POST JSON, read a JSON object, and map every failure to an error of ours.

No error raised here has an exception of the HTTP library in its chain: such exceptions may hold the request, and the
request holds secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

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
from ..errors.http_status import parse_retry_after
from ..urls import redact, redact_text
from .constants import REFRESH_HEADER
from .encoding import parse_json

MAX_RESPONSE_BYTES = 1_048_576
CHUNK_BYTES = 16_384
MAX_TEXT = 200
"""Characters of a server's text that an error repeats."""
SECRET_FIELDS = ("credential", "challenge", "token")
RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})

_ERROR_BY_STATUS: Mapping[int, Any] = {401: AuthFailedError, 403: AccessError}


@dataclass(frozen=True)
class StepResponse:
    """The response to a login step.

    Attributes:
        fields: the JSON object in its body.
        refreshed_token: a newer token from its ``auth-token-refresh`` header, or ``None``.
    """

    # No repr: both hold tokens.
    fields: dict[str, Any] = field(repr=False)
    refreshed_token: str | None = field(repr=False)


def post_step(
    session: requests.Session, base: str, step: str, body: Mapping[str, Any], deadline: Deadline
) -> StepResponse:
    """POST a login step and return the response.

    Args:
        session: sends the request.
        base: URL of the service.
        step: path of the step; names the step in errors.
        body: sent as JSON; no credential, challenge or token in it is repeated in an error.
        deadline: deadline for the whole step.

    Raises:
        AuthError: the step was refused, or the response is not valid; see ``step`` and ``status``.
        LoginTimeout: the deadline passed.
        SocketConnectionError: the service cannot be reached.
    """
    outcome = _post(session, base, step, body, deadline)
    # Raised here, outside of any except block: inside of one, Python would set __context__ to the exception of the
    # HTTP library, and "from None" only hides it.
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _post(
    session: requests.Session, base: str, step: str, body: Mapping[str, Any], deadline: Deadline
) -> StepResponse | ResilientError:
    """Return the response, or the error to raise."""
    if deadline.expired():
        return _timeout_error(step, deadline)
    secrets = [body[name] for name in SECRET_FIELDS if name in body]
    host = urlsplit(base).netloc
    try:
        response = session.post(
            base + step,
            json=dict(body),
            timeout=deadline.wait_seconds(),  # per read, not in total: hence the deadline is checked per chunk as well
            allow_redirects=False,  # a redirect would send the credentials to a host that is not configured
            stream=True,  # the size of the body is limited while it is read
        )
        with response:
            return _read_response(response, step, secrets, deadline)
    except requests.Timeout:
        return _timeout_error(step, deadline)
    # Before RequestException: SSLError is a ConnectionError for requests, but no retry heals a certificate.
    except requests.exceptions.SSLError as error:
        return with_step(AuthError(f"TLS certificate verification failed for {host}: {_root_message(error)}"), step)
    except (requests.exceptions.ContentDecodingError, requests.exceptions.InvalidHeader) as error:
        return with_step(AuthError(f"cannot decode the response ({type(error).__name__})"), step)
    except requests.RequestException as error:
        # A read that times out in the middle of a body is reported as a ConnectionError.
        if deadline.expired():
            return _timeout_error(step, deadline)
        return SocketConnectionError(f"login step {step}: cannot connect to {host}: {_root_message(error)}")


def _root_message(error: Exception) -> str:
    """Return the message of the innermost error."""
    # Messages of the outer errors contain the URL; urllib3 keeps the cause in .reason, requests in .args.
    inner: Any = error
    while isinstance(inner, Exception):
        reason = getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)
        if not isinstance(reason, Exception):
            break
        inner = reason
    text = str(inner).rpartition("connection: ")[2]
    return text[:MAX_TEXT] or type(error).__name__


def _timeout_error(step: str, deadline: Deadline) -> AuthError:
    return with_step(LoginTimeout(f"timed out after {deadline.seconds:g} s"), step)


def with_step(error: AuthError, step: str, status: int | None = None) -> AuthError:
    """Return the error, with the step and the HTTP status set."""
    error.step, error.status = step, status
    return error


def _read_response(
    response: requests.Response, step: str, secrets: list[str], deadline: Deadline
) -> StepResponse | AuthError:
    status = response.status_code
    if status in range(300, 400):
        return with_step(AuthError(_redirect_message(response)), step, status)
    body = bytearray()
    for chunk in response.iter_content(CHUNK_BYTES):
        body += chunk
        # A server that sends a byte now and then never runs into the timeout of a read.
        if deadline.expired():
            return _timeout_error(step, deadline)
        if len(body) > MAX_RESPONSE_BYTES:
            break
    # Before the size: the beginning of a refusal is enough to report it.
    if not response.ok:
        refusal = parse_refusal(bytes(body), step, status, secrets)
        refusal.retry_after = parse_retry_after(response.headers.get("retry-after"))
        return refusal
    if len(body) > MAX_RESPONSE_BYTES:
        return with_step(AuthError(f"the response exceeds {MAX_RESPONSE_BYTES} bytes"), step, status)
    fields = _parse_object(bytes(body))
    if fields is None:
        return with_step(AuthError(f"the response is not a JSON object ({_describe(bytes(body))})"), step, status)
    return StepResponse(fields, response.headers.get(REFRESH_HEADER))


def _redirect_message(response: requests.Response) -> str:
    # The location may repeat a token in its query.
    location = redact(urljoin(response.url, response.headers.get("location", "")))
    return f"the server redirects to {location[:MAX_TEXT]}; a login follows no redirects: use that location as the URL"


def parse_refusal(body: bytes, step: str, status: int, secrets: list[str]) -> AuthError:
    """Return the error in the response to a refused step, without any secret that the body repeats."""
    # Redacted before parsing, so that no part of the error can hold a secret; cut first, to bound that work.
    text = redact_text(body[: 4 * CHUNK_BYTES].decode("utf-8", "replace"), *secrets)
    # Services of the reference marshal their errors; their class and message are kept.
    if SEPARATOR in text:
        error = ResilientError.unmarshal(text)
        if isinstance(error, AuthError):
            return with_step(error, step, status)
        refusal = AuthError(f"refused: {error.plain_message[:MAX_TEXT]}")
        refusal.__cause__ = error
        return with_step(refusal, step, status)
    # Everything else is what the web framework or a proxy says: JSON with a message, or any page.
    fields = _parse_object(text.encode("utf-8", "replace"))
    message = fields.get("message") if fields else None
    if isinstance(message, str):
        message = f"refused: {message[:MAX_TEXT]}"
    else:
        message = f"refused without an error message ({_describe(body)})"
    refusal = _ERROR_BY_STATUS.get(status, AuthError)(message)
    refusal.retryable = status in RETRYABLE_STATUSES
    return with_step(refusal, step, status)


def _parse_object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = parse_json(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _describe(body: bytes) -> str:
    """Return a short description of an unexpected body, which is not repeated itself."""
    start = body[:MAX_TEXT].lstrip().lower()
    if not start:
        return "empty body"
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML page"
    return "unknown format"
