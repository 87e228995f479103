"""The steps of a login as a WSGI application."""

from __future__ import annotations

import io
import json
from typing import Any
from wsgiref.validate import validator

import pytest

from owlsocket_sync.auth import Authority, KeyPair, login_app
from owlsocket_sync.errors import ResilientError

ISSUER, USER = KeyPair.generate(), KeyPair.generate()
INIT = "/authentication/init"


def post(
    path: str, body: bytes, authority: Authority | None = None, method: str = "POST", length: str | None = None
) -> tuple[int, str, str]:
    """Status, type and body of the answer."""
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


def test_a_step_is_answered_with_json() -> None:
    """As the reference's service answers it."""
    status, kind, body = post(INIT, b'{"type": "basic-ed25519"}')
    assert (status, kind) == (200, "application/json; charset=utf-8")
    assert list(json.loads(body)) == ["challenge"]


@pytest.mark.parametrize("body", [b"", b"{bad", b"[]", b"{}", b"\xff", b"[" * 60_000, b" " * 70_000])
def test_a_body_that_does_not_fit_is_refused(body: bytes) -> None:
    """With 400 and a word about what is wrong."""
    status, kind, text = post(INIT, body)
    assert (status, kind) == (400, "application/json; charset=utf-8")
    assert json.loads(text)["message"]


@pytest.mark.parametrize("length", ["-5", "many"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    """Before anything is read."""
    from owlsocket_sync.auth.routes import _answer

    environ = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": length, "wsgi.input": io.BytesIO()}
    assert _answer(Authority(ISSUER, [USER]).init, environ)[0] == "400 Bad Request"


def test_a_refusal_is_a_marshalled_error() -> None:
    """With 500, as there; without a trace of ours."""
    status, kind, text = post(INIT, b'{"type": "nope"}')
    assert (status, kind, text) == (500, "text/plain; charset=utf-8", "AuthErrorUnknown|||auth:unknown:nope")


def test_nothing_else_is_here() -> None:
    """Neither another path nor another method."""
    assert post("/else", b"{}")[0] == post(INIT, b"", method="GET")[0] == 404


def test_a_failure_of_ours_stays_ours(caplog: pytest.LogCaptureFixture) -> None:
    """The peer gets its type alone."""

    class Broken(Authority):
        def init(self, request: Any) -> dict[str, str]:
            raise ZeroDivisionError("s3cret")

    status, _, text = post(INIT, b"{}", Broken(ISSUER, [USER]))
    assert status == 500
    assert ResilientError.unmarshal(text).type == "ZeroDivisionError"
    assert "s3cret" not in text
    assert "a step of a login failed" in caplog.text
