"""A token and a key that are marked leave no mark: in no log, repr, traceback, pickle or chain of errors."""

from __future__ import annotations

import logging
import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import responses

from owlsocket_sync import InsecureTransportWarning, connect
from owlsocket_sync.auth import AuthCredentials, Authority, Envelope, Guard, KeyPair, Login, SignatureAuth, StageLogin
from owlsocket_sync.server import Server, serve
from support.figures import Figure
from support.helpers import Collector
from support.sockets import ByteServer, RawPeer

KEY = KeyPair.generate()
SECRET_KEY = KEY.private.partition(":")[2]
ISSUER = KeyPair.generate()
MARK = "MARKEDsecret"
TOKEN = Envelope("ed25519-basic-token", MARK * 4).sign(KeyPair.generate()).tokenize()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and all that led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__]


def locals_of(error: BaseException) -> Iterator[str]:
    """What a debug page, or an error tracker, shows of the frames of an error; those of this test are left out."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != __file__:
            for name, value in frame.f_locals.items():
                yield f"{frame.f_code.co_qualname if hasattr(frame.f_code, 'co_qualname') else ''} {name}={value!r}"


def told_by(error: BaseException) -> str:
    """Everything that anybody could print of an error."""
    texts = ["".join(traceback.format_exception(error))]
    for cause in chain(error):
        texts += [repr(cause), repr(cause.args), repr(cause.__dict__), str(cause)]
        texts.append(pickle.dumps(cause).decode("latin-1"))
        texts += locals_of(cause)
    return "\n".join(texts)


def echo_refusal(peer: RawPeer) -> None:
    """Refuses, and repeats everything that it was told."""
    asked = peer.read_header()
    body = f"AuthFailedError|||api:auth:{asked.splitlines()[0]}|||{asked}".encode()
    peer.send(b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def to_a_server_that_repeats_everything(login: Login, server: Server) -> None:
    """A refusal holds what was sent."""
    with ByteServer(echo_refusal) as raw:
        connect(raw.url, token=TOKEN, headers={"X-Key": "k"})


def to_a_server_that_breaks_off(login: Login, server: Server) -> None:
    """In the middle of the upgrade."""
    with ByteServer(lambda peer: peer.read_header()) as raw:
        connect(raw.url, token=lambda: TOKEN)


def to_nobody(login: Login, server: Server) -> None:
    """Where nothing listens."""
    connect("ws://127.0.0.1:1/path", query={"token": TOKEN})


def to_a_guard(login: Login, server: Server) -> None:
    """That does not trust who signed it."""
    connect(server.url, token=TOKEN)


def with_a_token_that_cannot_travel(login: Login, server: Server) -> None:
    """Refused here."""
    connect(server.url, token=f"{TOKEN}\r\n")


def with_a_login_that_fails(login: Login, server: Server) -> None:
    """At its last step, by a server that repeats the one-time token."""
    connect(server.url, auth=login)


def with_an_auth_step_that_fails(login: Login, server: Server) -> None:
    """The token is in the payload."""
    with connect(server.url, auth=lambda conn: conn.auth("authenticate", {"token": TOKEN})):
        pass


@pytest.mark.parametrize(
    "attempt",
    [
        to_a_server_that_repeats_everything,
        to_a_server_that_breaks_off,
        to_nobody,
        to_a_guard,
        with_a_token_that_cannot_travel,
        with_a_login_that_fails,
        with_an_auth_step_that_fails,
    ],
    ids=lambda attempt: str(attempt.__name__),
)
def test_row_29_no_secret_is_shown(
    attempt: Callable[[Login, Server], None],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    figure: Figure,
) -> None:
    """Whatever goes wrong, at DEBUG, of ours and of the libraries beneath."""
    caplog.set_level(logging.DEBUG)
    one_time = Envelope("one-time-token", MARK * 3).sign(ISSUER).tokenize()
    guard = Guard(
        ISSUER.public, authority=Authority(ISSUER, [KEY]), required=attempt is not with_an_auth_step_that_fails
    )
    wrong = Collector()

    def handler(conn: Any, request: Any) -> None:
        conn.on_error(wrong)

    with (
        responses.RequestsMock(assert_all_requests_are_fired=False) as http,
        serve(handler, authenticate=guard) as server,
    ):
        challenge = Envelope("basic-ed25519", "text").sign(ISSUER).wrap()
        http.post("https://auth.example/authentication/init", json={"challenge": challenge})
        http.post("https://auth.example/authentication/authenticate", json={"token": one_time})
        http.post("https://auth.example/authenticate", status=500, body=f"AuthError|||no {one_time}|||{one_time}")
        login = Login("https://auth.example", KEY)
        with pytest.raises(Exception) as caught:
            attempt(login, server)
        texts = [caplog.text, *capfd.readouterr(), told_by(caught.value), repr(login), repr(server), repr(wrong.items)]
    texts += [repr(record.__dict__) for record in caplog.records]
    found = "\n".join(texts)
    assert "cannot" in found or "auth" in found
    secrets = (TOKEN, TOKEN[30:-30], MARK, one_time, one_time[30:-30], SECRET_KEY)
    figure("secrets told", sum(secret in found for secret in secrets), 0, "secrets")


def test_row_29_nothing_that_holds_a_secret_shows_it() -> None:
    """Reprs of everything that has one."""
    credentials = AuthCredentials(challenge=MARK, credential=MARK, type="t", role="r", scopes=[])
    holders = [
        KEY,
        SignatureAuth(KEY),
        StageLogin(KEY),
        Login("https://x", KEY),
        Envelope("t", MARK).sign(KEY),
        credentials,
    ]
    shown = "".join(repr(holder) + str(holder) for holder in holders)
    assert MARK not in shown
    assert SECRET_KEY not in shown


def test_row_29_an_unencrypted_token_warns_without_showing_it() -> None:
    """The warning names the host alone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        connect("ws://owls.invalid/", token=TOKEN, wait=False).close()
    assert [warning.category for warning in caught] == [InsecureTransportWarning]
    assert TOKEN not in str(caught[0].message)
