"""Certificates and versions that do not hold: told at once, with what to do, and never tried again (row 18)."""

from __future__ import annotations

import ssl
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from owlsocket_sync import Backoff, Connection, ConnectionState, SocketConnectionError, connect
from owlsocket_sync.server import Request, serve
from owlsocket_sync.testing import FaultProxy
from owlsocket_sync.transport.tls import tls_error
from support.certificates import DAY, Authority, self_signed, serving
from support.figures import Figure
from support.helpers import Collector, eventually, scaled
from support.sockets import ByteServer, RawPeer

AT_ONCE = 0.5


class Meeting(NamedTuple):
    """What the server and the client bring to a handshake."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def _certificate(make: Callable[[Authority, Path], Path]) -> Callable[[Path], Meeting]:
    """A server that shows the certificate that is made, to a client that trusts the authority."""

    def meet(folder: Path) -> Meeting:
        authority = Authority(folder)
        return Meeting(serving(make(authority, folder)), authority.trusting())

    return meet


def _old_server(folder: Path) -> Meeting:
    authority = Authority(folder)
    context = serving(authority.issue("old"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return Meeting(context, authority.trusting())


def _old_client(folder: Path) -> Meeting:
    meeting = _certificate(lambda authority, _: authority.issue("new"))(folder)
    meeting.server.minimum_version = ssl.TLSVersion.TLSv1_3
    meeting.client.maximum_version = ssl.TLSVersion.TLSv1_2
    return meeting


def _no_cipher(folder: Path) -> Meeting:
    meeting = _certificate(lambda authority, _: authority.issue("choosy"))(folder)
    meeting.server.maximum_version = ssl.TLSVersion.TLSv1_2
    meeting.server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    meeting.client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    return meeting


expired = _certificate(lambda authority, _: authority.issue("expired", ends=-DAY))

BAD = [
    pytest.param(expired, "expired.*renew the certificate", id="expired"),
    pytest.param(
        _certificate(lambda authority, _: authority.issue("far", ["far.example"])),
        "not valid for '127.0.0.1'.*connect with a host name",
        id="wrong-host",
    ),
    pytest.param(_certificate(lambda _, folder: self_signed(folder)), "self.signed.*ssl_context=", id="self-signed"),
    pytest.param(
        _certificate(lambda _, folder: Authority(folder, "stranger").issue("strange")),
        "issuer certificate.*ssl_context=",
        id="unknown-authority",
    ),
    pytest.param(_old_server, "1.2 or newer", id="tls-1.1-server"),
    pytest.param(_old_client, "no TLS version", id="version"),
    pytest.param(_no_cipher, "no common cipher suite", id="cipher"),
]


def test_an_old_server_is_told_whatever_openssl_calls_it() -> None:
    """Some builds take the version for granted, and stumble over the signature."""
    error = tls_error(ssl.SSLError(1, "[SSL] legacy sigalg disallowed or unsupported (_ssl.c:992)"), "old.example")
    assert "1.2 or newer" in str(error)
    assert not error.retryable


def _serve(peer: RawPeer) -> None:
    peer.upgrade()
    peer.at_end()


def _nothing(conn: Connection, request: Request) -> None:
    """A handler that leaves the connection as it is."""


@pytest.mark.parametrize(("meet", "words"), BAD)
def test_row_18_an_invalid_certificate_is_reported_at_once(
    tmp_path: Path, figure: Figure, meet: Callable[[Path], Meeting], words: str
) -> None:
    """One attempt and no second, though the connection would reconnect; the error names the host and the way out."""
    meeting = meet(tmp_path)
    with ByteServer(_serve, meeting.server) as server:
        began = time.monotonic()
        with pytest.raises(SocketConnectionError, match=words) as caught:
            connect(server.url, ssl_context=meeting.client, reconnect=Backoff(initial=0.01))
        figure("connect raises", time.monotonic() - began, scaled(AT_ONCE), "s")
        assert not caught.value.retryable
        assert caught.value.code == "CONNECTION_LOST"
        assert "127.0.0.1" in str(caught.value)
        assert server.accepted == 1


@pytest.mark.parametrize("ends", [timedelta(0), timedelta(days=-1)])
def test_row_18_a_certificate_that_becomes_invalid_ends_reconnecting(tmp_path: Path, ends: timedelta) -> None:
    """A server that comes back with an expired certificate is not tried again, and everybody learns why."""
    authority = Authority(tmp_path)
    states = Collector()
    with serve(_nothing, ssl_context=serving(authority.issue("good"))) as good:
        backoff = Backoff(initial=0.3, factor=1.0, jitter="none")
        conn = connect(good.url, ssl_context=authority.trusting(), reconnect=backoff)
        conn.on_state(states)
    with serve(_nothing, port=good.port, ssl_context=serving(authority.issue("bad", ends=ends))):
        changes = states.wait(2)
        assert [change.state for change in changes] == [ConnectionState.RECONNECTING, ConnectionState.CLOSED]
        assert "TLS certificate verification failed for 127.0.0.1: certificate has expired" in changes[1].reason
        with pytest.raises(SocketConnectionError, match=r"127\.0\.0\.1.*expired") as caught:
            conn.call("anything")
        assert not caught.value.retryable
    conn.close()


OFFSETS = [1, 4, 5, 60, 127, 128, 200, 500]


@pytest.mark.parametrize(("how", "after"), [("cut", 0), *product(["cut", "reset"], OFFSETS)])
def test_row_18_an_aborted_handshake_is_retried(tmp_path: Path, how: str, after: int) -> None:
    """Whatever byte of the server's flight it ends at: a typed error that says so, retried under the backoff."""
    authority = Authority(tmp_path)
    context = authority.trusting()
    with (
        serve(_nothing, ssl_context=serving(authority.issue("good"))) as server,
        FaultProxy("127.0.0.1", server.port, secure=True) as proxy,
    ):
        getattr(proxy, how)(after=after, direction="downstream")
        with pytest.raises(SocketConnectionError, match=r"TLS connection to 127\.0\.0\.1 failed") as caught:
            connect(proxy.url(), ssl_context=context)
        assert caught.value.retryable
        before = proxy.accepted
        with connect(proxy.url(), ssl_context=context, wait=False, reconnect=Backoff(initial=0.02, cap=0.04)) as conn:
            eventually(lambda: proxy.accepted >= before + 3)
            assert conn.state is ConnectionState.CONNECTING
            proxy.clear()
            conn.wait_open(scaled(5))


def test_row_18_a_refused_port_is_retried(tmp_path: Path) -> None:
    """A server that is not there yet is waited for under the backoff, and found."""
    authority = Authority(tmp_path)
    with (
        serve(_nothing, ssl_context=serving(authority.issue("good"))) as server,
        FaultProxy("127.0.0.1", server.port, secure=True) as proxy,
    ):
        proxy.refuse()
        backoff = Backoff(initial=0.02, cap=0.04)
        with connect(proxy.url(), ssl_context=authority.trusting(), wait=False, reconnect=backoff) as conn:
            with pytest.raises(TimeoutError):
                conn.wait_open(0.1)
            proxy.refuse(False)
            conn.wait_open(scaled(5))
