"""An haproxy before the embedded server: its health checks, and what it says about its clients."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from owlsocket_sync import connect
from owlsocket_sync.server import serve
from support.handlers import echo
from support.haproxy import haproxy, needs_haproxy
from support.helpers import eventually, scaled
from support.sockets import server_context

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
