"""``owlsocket ping``, ``bench`` and ``doctor``: JSON for scripts, text for people, and the step that fails."""

from __future__ import annotations

import re
from typing import Any

import pytest

from owlsocket_sync import AuthenFailed
from owlsocket_sync.cli.bench import quantile
from owlsocket_sync.cli.demo_handlers import register_handlers
from owlsocket_sync.server import Request, Server, serve
from support.command_line import Terminal, answers, run, running
from support.helpers import VECTORS, scaled
from support.sockets import (
    PING,
    PONG,
    ByteServer,
    ConnectProxy,
    RawPeer,
    close_frame,
    frame,
    free_port,
    full_port,
    server_context,
)

pytestmark = pytest.mark.slow

CA = str(VECTORS / "tls" / "authority.pem")
FIGURES = ["min_ms", "avg_ms", "max_ms", "mdev_ms"]

# -- ping --------------------------------------------------------------------------------------------------------------


def test_ping_prints_each_reply_and_the_statistics(demo_server: Server) -> None:
    """One line of JSON each."""
    result = run("ping", demo_server.url, "-c", "3", "-i", "0")
    *replies, together = answers(result)
    assert (result.returncode, [reply["seq"] for reply in replies]) == (0, [1, 2, 3])
    took = [reply["ms"] for reply in replies]
    assert (together["sent"], together["received"], together["loss_percent"]) == (3, 3, 0)
    assert (together["min_ms"], together["max_ms"]) == (min(took), max(took))
    assert abs(together["avg_ms"] - sum(took) / 3) < 0.01
    assert 0 <= together["mdev_ms"] <= max(took) - min(took)


def test_ping_prints_text_on_a_terminal(demo_server: Server) -> None:
    """In the format of ping(8), without JSON."""
    with Terminal("ping", demo_server.url, "-c", "2", "-i", "0") as terminal:
        assert terminal.finish() == 0
    assert len(re.findall(rf"reply from {demo_server.url}/: seq=\d time=[\d.]+ ms\n", terminal.words)) == 2
    assert f"--- {demo_server.url}/ ping statistics ---\n2 sent, 2 received, 0% loss\n" in terminal.words
    assert re.search(r"rtt min/avg/max/mdev = ([\d.]+/){3}[\d.]+ ms\n", terminal.words)
    assert "{" not in terminal.words


def test_a_ping_without_a_reply_is_counted_as_lost() -> None:
    """The command goes on; without any reply, the exit code is 4."""

    def answer_every_other(peer: RawPeer) -> None:
        peer.upgrade()
        for number in range(4):
            while (came := peer.read_frame()).opcode != PING:
                pass
            if number % 2 == 0:
                peer.send(frame(PONG, came.payload))
        peer.consent()

    with ByteServer(answer_every_other) as server:
        result = run("ping", server.url, "-i", "0", "-c", "4", "--timeout", "0.5")
    *replies, together = answers(result)
    assert (result.returncode, [reply["ms"] is None for reply in replies]) == (0, [False, True, False, True])
    assert (together["sent"], together["received"], together["loss_percent"]) == (4, 2, 50.0)

    with ByteServer(lambda peer: (peer.upgrade(), peer.consent())) as silent:
        result = run("ping", silent.url, "-i", "0", "-c", "2", "--timeout", "0.2")
    assert result.returncode == 4
    assert answers(result) == [
        {"seq": 1, "ms": None},
        {"seq": 2, "ms": None},
        {"sent": 2, "received": 0, "loss_percent": 100.0},
    ]


def test_ping_notices_a_closed_connection_at_once() -> None:
    """Even in a long interval; the statistics are printed."""
    with serve(register_handlers) as server, running("ping", server.url, "-i", "60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.close()
        out, err = process.communicate(timeout=scaled(20))
    assert (process.returncode, '"sent": 1, "received": 1' in out) == (3, True)
    assert err == "connection closed: 1001\n"


def test_an_interrupted_ping_prints_the_statistics(demo_server: Server) -> None:
    """Exit code 130."""
    with running("ping", demo_server.url, "-i", "60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        out, err = process.communicate(timeout=scaled(20))
    assert (process.returncode, '"sent": 1, "received": 1' in out, err.strip()) == (130, True, "interrupted")


# -- bench -------------------------------------------------------------------------------------------------------------


def test_bench_makes_the_requested_number_of_calls() -> None:
    """It prints the quantiles of their times, in order."""
    calls: list[Any] = []
    with serve(lambda conn, request: conn.perform("note", calls.append)) as server:
        result = run("bench", server.url, "note", '{"a": 1}', "--calls", "50", "--parallel", "7")
    (figures,) = answers(result)
    assert (result.returncode, calls) == (0, [{"a": 1}] * 50)
    assert (figures["calls"], figures["ok"], figures["failed"]) == (50, 50, 0)
    took = [figures[name] for name in ("min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")]
    assert took == sorted(took)
    assert figures["calls_per_second"] > 0


def test_bench_counts_errors_by_code(demo_server: Server) -> None:
    """The exit code is that of the first error."""
    result = run("bench", demo_server.url, "fail", "--calls", "5", "--parallel", "2")
    (figures,) = answers(result)
    assert (result.returncode, figures["failed"], figures["errors"]) == (1, 5, {"ERROR": 5})
    assert "p50_ms" not in figures


def test_bench_ends_with_the_connection() -> None:
    """It does not count a failure for each call that is left."""
    with serve(lambda conn, request: conn.perform("leave", lambda: conn.close(1001))) as server:
        result = run("bench", server.url, "leave", "--calls", "100000", "--parallel", "2")
    (figures,) = answers(result)
    assert result.returncode == 3
    assert figures["calls"] < 100_000
    assert set(figures["errors"]) == {"CONNECTION_LOST"}


def test_bench_prints_text_on_a_terminal(demo_server: Server) -> None:
    """Without JSON."""
    with Terminal("bench", demo_server.url, "echo", "1", "--calls", "20") as terminal:
        assert terminal.finish() == 0
    assert re.search(r"20 calls answered, 0 failed, in [\d.e-]+ s: [\d,]+ calls/s with 10 callers\n", terminal.words)
    assert re.search(r"min/p50/p90/p99/max = ([\d.]+/){4}[\d.]+ ms\n", terminal.words)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.505, 51), (0.9, 90), (0.99, 99), (1.0, 100)]
)
def test_a_quantile_is_the_nearest_rank(share: float, value: float) -> None:
    """Of a hundred values, and of a single one."""
    assert quantile([float(number) for number in range(1, 101)], share) == value
    assert quantile([7.0], share) == 7.0


# -- doctor ------------------------------------------------------------------------------------------------------------


def steps(result: Any) -> list[str]:
    """Return the names of the steps; all but the last must succeed."""
    reports = answers(result)
    assert all(step["ok"] for step in reports[:-1])
    assert all(step["ms"] >= 0 for step in reports)
    assert reports[-1]["ok"] is (result.returncode == 0)
    return [step["step"] for step in reports]


def test_doctor_runs_all_steps_of_a_working_connection(demo_server: Server) -> None:
    """Each step has its time."""
    result = run("doctor", demo_server.url)
    assert (result.returncode, steps(result)) == (0, ["dns", "tcp", "upgrade", "auth", "round trip"])
    assert answers(result)[3]["detail"] == "no token was sent, and none is required"


def test_tls_and_a_proxy_are_steps_of_their_own() -> None:
    """With the TLS version, the cipher and the end of the certificate."""
    with serve(register_handlers, ssl_context=server_context()) as server, ConnectProxy(server.port) as proxy:
        result = run("doctor", server.url, "--ca", CA, "--proxy", proxy.url, "--token-env", "T", env={"T": "s3cret"})
    assert (result.returncode, steps(result)) == (0, ["dns", "tcp", "proxy", "tls", "upgrade", "auth", "round trip"])
    tls = answers(result)[3]["detail"]
    assert re.match(r"TLSv1\.\d, \S+, certificate valid until Dec 31", tls), tls
    assert answers(result)[5]["detail"] == "the token was accepted"
    assert "s3cret" not in result.stdout


def answering(text: str) -> ByteServer:
    """Return a server that answers any request with a text."""

    def answer(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(text.encode())

    return ByteServer(answer)


def failure(*arguments: str, **options: Any) -> tuple[int, str, str, str]:
    """Return the exit code, the step that failed, its error, and its hint."""
    result = run("doctor", *arguments, **options)
    steps(result)
    last = answers(result)[-1]
    return result.returncode, last["step"], last["error"], last["advice"]


def test_an_unknown_host_fails_at_dns() -> None:
    """Exit code 3."""
    code, step, error, advice = failure("ws://nowhere.invalid")
    assert (code, step) == (3, "dns")
    assert "cannot resolve host 'nowhere.invalid'" in error
    assert advice == "check the spelling of nowhere.invalid, and the network of this machine"


@pytest.mark.parametrize("proxy", ["http://elsewhere.invalid:3128", "elsewhere.invalid"])
def test_an_unknown_proxy_is_named(proxy: str) -> None:
    """In the hint as well, in place of the host behind it, which nobody has looked up; for every command."""
    code, step, error, advice = failure("ws://nowhere.invalid", "--proxy", proxy)
    assert (code, step) == (3, "dns")
    assert "cannot resolve the proxy host 'elsewhere.invalid'" in error
    assert advice == "check the spelling of elsewhere.invalid, and the network of this machine"
    words = run("ping", "ws://nowhere.invalid", "--proxy", proxy).stderr
    assert "cannot resolve the proxy host 'elsewhere.invalid'" in words
    assert "check the spelling of elsewhere.invalid" in words


def test_a_closed_port_of_a_proxy_is_named() -> None:
    """By the same words as in an error of `connect`."""
    code, step, error, _ = failure("ws://nowhere.invalid", "--proxy", f"http://127.0.0.1:{free_port()}")
    assert (code, step) == (3, "tcp")
    assert error.startswith("the proxy 127.0.0.1:")


def test_a_closed_port_fails_at_tcp() -> None:
    """Exit code 3; a port that drops packets is a timeout."""
    code, step, _, advice = failure(f"ws://127.0.0.1:{free_port()}")
    assert (code, step, "is the server running, and is the port right?" in advice) == (3, "tcp", True)
    with full_port() as port:
        code, step, _, advice = failure(f"ws://127.0.0.1:{port}", "--timeout", "0.3")
    assert (code, step, "firewall" in advice) == (4, "tcp", True)


def test_a_refusing_proxy_fails_at_proxy(demo_server: Server) -> None:
    """With a hint about its credentials."""
    with ConnectProxy(demo_server.port, "me:pw") as proxy:
        code, step, error, advice = failure(demo_server.url, "--proxy", proxy.url)
    assert (code, step, "407" in error) == (3, "proxy", True)
    assert "user and a password" in advice


def test_tls_errors_fail_at_tls(demo_server: Server) -> None:
    """A server without TLS, an untrusted certificate, and a silent server."""
    code, step, _, advice = failure(demo_server.url.replace("ws:", "wss:"))
    assert (code, step, "try ws://" in advice) == (3, "tls", True)
    with serve(register_handlers, ssl_context=server_context()) as server:
        code, step, error, advice = failure(server.url)
    assert (code, step, "certificate verification failed" in error, "--ca PATH" in advice) == (3, "tls", True, True)
    with ByteServer(RawPeer.at_end) as silent:
        code, step, error, _ = failure(silent.url.replace("ws:", "wss:"), "--timeout", "0.3")
    assert (code, step, error) == (4, "tls", "the server did not finish the TLS handshake within 0.3 s")


@pytest.mark.parametrize(
    ("answer", "error", "advice"),
    [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404", "nothing is served at this path"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP 200", "does not speak WebSocket at this URL"),
        ("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "HTTP 400", "try wss://"),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n",
            "redirect to",
            "the URL of the redirect",
        ),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "HTTP 502", "is the server running?"),
        ("220 mail ready\r\n", "invalid WebSocket handshake", "does not speak WebSocket at this URL"),
        ("", "", "its log"),
    ],
)
def test_an_invalid_handshake_fails_at_upgrade(answer: str, error: str, advice: str) -> None:
    """Exit code 3, with a hint about the likely cause."""
    with answering(answer) as server:
        code, step, text, what_to_do = failure(server.url)
    assert (code, step) == (3, "upgrade")
    assert error in text
    assert advice in what_to_do


def test_a_refused_token_fails_at_auth() -> None:
    """Exit code 5; the upgrade step succeeds, since the server has answered."""

    def refuse(request: Request) -> None:
        raise AuthenFailed("too old")

    with serve(register_handlers, authenticate=refuse) as server:
        code, step, error, advice = failure(server.url, "--token-env", "T", env={"T": "s3cret"})
    assert (code, step, "too old" in error) == (5, "auth", True)
    assert "--token-env or --token-file" in advice


def test_a_server_that_closes_fails_at_the_round_trip() -> None:
    """At once, or after its first pong: exit code 3, with its close code."""

    def hang_up(peer: RawPeer) -> None:
        peer.upgrade()
        peer.send(close_frame(4401, "no"))
        peer.at_end()

    def hang_up_later(peer: RawPeer) -> None:
        peer.upgrade()
        while (came := peer.read_frame()).opcode != PING:
            pass
        peer.send(frame(PONG, came.payload) + close_frame(4401, "no"))
        peer.at_end()

    for script in (hang_up, hang_up_later):
        with ByteServer(script) as server:
            code, step, error, advice = failure(server.url)
        assert (code, step, "4401" in error) == (3, "round trip", True)
        assert "log" in advice


def test_doctor_prints_text_on_a_terminal() -> None:
    """The hint is on a line of its own."""
    with Terminal("doctor", f"ws://127.0.0.1:{free_port()}") as terminal:
        assert terminal.finish() == 3
    assert re.search(r"ok  dns +[\d.]+ ms  127\.0\.0\.1\n", terminal.words)
    assert re.search(r"no  tcp +[\d.]+ ms  .*refused\n    nothing listens there", terminal.words)
    assert "{" not in terminal.words
