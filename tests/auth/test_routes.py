"""The login steps as a WSGI application."""

from __future__ import annotations

import io
import json
from typing import Any
from wsgiref.validate import validator

import pytest

from owlsocket_sync.auth import Authority, KeyPair, login_app

ISSUER, USER = KeyPair.generate(), KeyPair.generate()
INIT = "/authentication/init"


def post(
    path: str, body: bytes, authority: Authority | None = None, method: str = "POST", length: str | None = None
) -> tuple[int, str, str]:
    """POST to the application and return status, content type and body."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_LENGTH": str(len(body)) if length is None else length,
        "CONTENT_TYPE": "application/json",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "QUERY_STRING": "",
    }
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        seen[:] = [int(status.split()[0]), dict(headers)["Content-Type"]]
        return lambda data: None

    app = validator(login_app(authority or Authority(ISSUER, [USER])))
    answer = app(environ, start_response)
    text = b"".join(answer).decode()
    answer.close()  # type: ignore[attr-defined]
    return seen[0], seen[1], text


def test_step_returns_json() -> None:
    """As the service of the reference does."""
    status, kind, body = post(INIT, b'{"type": "basic-ed25519"}')
    assert (status, kind) == (200, "application/json; charset=utf-8")
    assert list(json.loads(body)) == ["challenge"]


@pytest.mark.parametrize("body", [b"", b"{bad", b"[]", b"{}", b"\xff", b"[" * 60_000, b" " * 70_000])
def test_malformed_body_is_rejected(body: bytes) -> None:
    """With status 400 and a message."""
    status, kind, text = post(INIT, body)
    assert (status, kind) == (400, "application/json; charset=utf-8")
    assert json.loads(text)["message"]


@pytest.mark.parametrize("length", ["-5", "many"])
def test_malformed_content_length_is_rejected(length: str) -> None:
    """Before the body is read."""
    from owlsocket_sync.auth.routes import _respond

    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": length, "wsgi.input": io.BytesIO()}
    assert _respond(Authority(ISSUER, [USER]).init, environ)[0] == "400 Bad Request"


def test_refusal_is_a_marshalled_error() -> None:
    """With status 500, as by the reference, and without a stack trace."""
    status, kind, text = post(INIT, b'{"type": "nope"}')
    assert (status, kind, text) == (500, "text/plain; charset=utf-8", "AuthErrorUnknown|||auth:unknown:nope")


def test_other_paths_and_methods_are_not_found() -> None:
    """Status 404."""
    assert post("/else", b"{}")[0] == post(INIT, b"", method="GET")[0] == 404


def test_unexpected_error_exposes_its_type_only(caplog: pytest.LogCaptureFixture) -> None:
    """The message goes to the log, not to the peer."""

    class Broken(Authority):
        def init(self, request: Any) -> dict[str, str]:
            raise ZeroDivisionError("s3cret")

    status, _, text = post(INIT, b"{}", Broken(ISSUER, [USER]))
    assert status == 500
    assert text == "ResilientError|||failed|||ZeroDivisionError: failed"
    assert "s3cret" not in text
    assert "unexpected error in a login step" in caplog.text
