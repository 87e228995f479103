"""The steps of a login as a WSGI application: for a small service of your own, for samples and tests."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import AuthError, AuthMalformed, ResilientError
from .authority import Authority
from .encoding import read_json
from .login import AUTHENTICATE, EXCHANGE, INIT

logger = logging.getLogger("owlsocket_sync")

BODY_BYTES = 65_536

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def login_app(authority: Authority) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """A WSGI application (PEP 3333) that answers the three steps as the reference's services do."""
    steps: Mapping[str, Callable[[Any], dict[str, str]]] = {
        INIT: authority.init,
        AUTHENTICATE: authority.authenticate,
        EXCHANGE: authority.exchange,
    }

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        status, kind, body = _answer(steps.get(environ.get("PATH_INFO", "")), environ)
        data = body.encode()
        headers = [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(data)))]
        start_response(status, [*headers, ("Cache-Control", "no-store")])
        return [data]

    return application


def _answer(step: Callable[[Any], dict[str, str]] | None, environ: dict[str, Any]) -> tuple[str, str, str]:
    """Status, type and body."""
    if step is None or environ["REQUEST_METHOD"] != "POST":
        return _problem(404, "Not Found", "only the steps of a login are here, by POST")
    try:
        return "200 OK", "application/json", json.dumps(step(_read_body(environ)))
    except AuthMalformed as error:
        return _problem(400, "Bad Request", error.message.removeprefix(error.prefix))
    except AuthError as error:
        return "500 Internal Server Error", "text/plain", error.marshal()
    except Exception as error:
        logger.exception("a step of a login failed")
        return "500 Internal Server Error", "text/plain", ResilientError(type(error).__name__, "failed").marshal()


def _problem(status: int, name: str, message: str) -> tuple[str, str, str]:
    return (
        f"{status} {name}",
        "application/json",
        json.dumps({"statusCode": status, "error": name, "message": message}),
    )


def _read_body(environ: dict[str, Any]) -> Any:
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if 0 <= length <= BODY_BYTES:
            return read_json(environ["wsgi.input"].read(length))
    except ValueError:
        pass  # said below, as what is too long
    raise AuthMalformed("the body is no JSON of a login")
