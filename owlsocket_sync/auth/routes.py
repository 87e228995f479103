"""The login steps as a WSGI application, for small services, samples and tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import AuthError, AuthMalformed
from ..errors.marshalled import plain_error
from ..errors.safe_text import logger
from .authority import Authority
from .encoding import parse_json
from .login import AUTHENTICATE, EXCHANGE, INIT

MAX_BODY_BYTES = 65_536

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def login_app(authority: Authority) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Return a WSGI application (PEP 3333) with the three login steps, compatible with the reference's services.

    Args:
        authority: issues the challenges and tokens.
    """
    steps: Mapping[str, Callable[[Any], dict[str, str]]] = {
        INIT: authority.init,
        AUTHENTICATE: authority.authenticate,
        EXCHANGE: authority.exchange,
    }

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, content_type, text = _respond(steps.get(environ.get("PATH_INFO", "")), environ)
        body = text.encode()
        headers = [("Content-Type", f"{content_type}; charset=utf-8"), ("Content-Length", str(len(body)))]
        # no-store: the body is a token, which no cache on the way may keep (RFC 9111, section 5.2.2.5).
        start_response(status, [*headers, ("Cache-Control", "no-store")])
        return [body]

    return application


def _respond(step: Callable[[Any], dict[str, str]] | None, environ: dict[str, Any]) -> tuple[str, str, str]:
    """Return status, content type and body."""
    if step is None or environ["REQUEST_METHOD"] != "POST":
        return _error_response(404, "Not Found", "no such login step; login steps are POST requests")
    try:
        return "200 OK", "application/json", json.dumps(step(_read_body(environ)))
    except AuthMalformed as error:
        return _error_response(400, "Bad Request", error.plain_message)
    except AuthError as error:
        # Status 500 with the marshalled error: so the reference's services refuse, and its clients read it.
        return "500 Internal Server Error", "text/plain", error.marshal()
    except Exception as error:
        # The type only: the message of an unexpected error may hold anything. The log has all of it.
        logger.exception("unexpected error in a login step")
        return "500 Internal Server Error", "text/plain", plain_error(type(error).__name__, "failed").marshal()


def _error_response(status: int, name: str, message: str) -> tuple[str, str, str]:
    return (
        f"{status} {name}",
        "application/json",
        json.dumps({"statusCode": status, "error": name, "message": message}),
    )


def _read_body(environ: dict[str, Any]) -> Any:
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        # PEP 3333: reading beyond CONTENT_LENGTH may block. A negative length would mean "read everything".
        if 0 <= length <= MAX_BODY_BYTES:
            return parse_json(environ["wsgi.input"].read(length))
    except ValueError:
        pass  # not a number, or not JSON; reported below, together with a body that is too large
    raise AuthMalformed(f"the request body is not JSON, or larger than {MAX_BODY_BYTES} bytes")
