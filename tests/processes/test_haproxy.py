"""An haproxy before the embedded server: its health checks, and what it says about its clients."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from owlsocket_sync import connect
from owlsocket_sync.server import serve
from support.handlers import echo
from support.haproxy import haproxy, needs_haproxy
from support.helpers import Collector, eventually, scaled
from support.sockets import client_context, server_context

pytestmark = [pytest.mark.slow, needs_haproxy]


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ("option httpchk GET /health", "check"),
        ("option httpchk /health", "check"),
        ("option httpchk HEAD /health HTTP/1.1\n    http-check send hdr Host api.example", "check"),
        ("option httpchk GET /health", "check check-ssl ssl verify none"),
    ],
    ids=["GET", "its default", "HEAD", "tls"],
)
def test_its_health_checks_pass(tmp_path: Path, options: str, server: str) -> None:
    """So clients come through; the server listens on a loopback address, which haproxy does not name."""
    context = server_context() if "ssl" in server else None
    with (
        serve(echo, health="/health", ssl_context=context) as owl,
        haproxy(tmp_path, owl.port, options=options, server=server) as proxy,
    ):
        eventually(lambda: proxy.checks()["check_status"].removeprefix("* ") == "L7OK", 20)
        assert (proxy.checks()["status"], proxy.checks()["check_code"]) == ("UP", "200")
        with connect(f"ws://127.0.0.1:{proxy.port}") as conn:
            assert conn.call("echo", 1) == 1


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_its_proxy_protocol_names_the_client(tmp_path: Path, version: str, secure: bool) -> None:
    """Before TLS, which passes through it; its health checks have a header of their own."""
    requests = Collector()
    context = server_context() if secure else None
    check = "option httpchk GET /health"
    words = f"{version} check check-send-proxy{' check-ssl verify none' if secure else ''}"
    with (
        serve(
            lambda conn, request: requests(request),
            health="/health",
            proxy_protocol=True,
            trusted_proxies=["127.0.0.1"],
            ssl_context=context,
        ) as owl,
        haproxy(tmp_path, owl.port, mode="tcp", options=check, server=words) as proxy,
    ):
        eventually(lambda: proxy.checks()["check_status"].removeprefix("* ") == "L7OK", 20)
        url = f"{'wss' if secure else 'ws'}://127.0.0.1:{proxy.port}"
        with connect(url, ssl_context=client_context() if secure else None):
            (request,) = requests.wait(1)
            assert request.remote[0] == "127.0.0.1"
            assert request.remote[1] != request.peer[1]


@pytest.mark.parametrize("options", ["option forwardfor", "http-request set-header Forwarded for=%[src]"])
def test_its_headers_name_the_client(tmp_path: Path, options: str) -> None:
    """What a client writes into them itself is passed on, and not believed."""
    requests = Collector()
    with (
        serve(lambda conn, request: requests(request), trusted_proxies=["127.0.0.2"]) as owl,
        haproxy(tmp_path, owl.port, options=options, server="source 127.0.0.2") as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}", headers={"X-Forwarded-For": "203.0.113.9"}),
    ):
        (request,) = requests.wait(1)
    assert request.peer[0] == "127.0.0.2"
    # Of two headers that contradict each other, neither counts.
    assert request.remote[0] == ("127.0.0.1" if "forwardfor" in options else "127.0.0.2")


def test_without_the_option_it_takes_the_server_out(tmp_path: Path) -> None:
    """The default is no answer for it: a check that passes by chance would say nothing."""
    with serve(echo) as owl, haproxy(tmp_path, owl.port, options="option httpchk GET /", server="check") as proxy:
        eventually(lambda: proxy.checks()["status"] == "DOWN", 20)


def test_a_server_that_closes_is_taken_out(tmp_path: Path) -> None:
    """While its last clients are still there."""
    entered, hold = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        hold.wait(scaled(30))

    owl = serve(lambda conn, request: conn.perform("work", work), health="/health")
    with (
        haproxy(tmp_path, owl.port, options="option httpchk GET /health", server="check") as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}", reconnect=None) as conn,
    ):
        conn.submit("work")
        assert entered.wait(scaled(5))
        closer = threading.Thread(target=owl.close, args=(scaled(30),))
        closer.start()
        eventually(lambda: (proxy.checks()["status"], proxy.checks()["check_code"]) == ("DOWN", "503"), 20)
        hold.set()
        closer.join(scaled(10))
        assert not closer.is_alive()
