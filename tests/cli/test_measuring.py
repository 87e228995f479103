"""``owlsocket ping``, ``bench`` and ``doctor``: figures for scripts, words for people, and where a way ends."""

from __future__ import annotations

import re
from typing import Any

import pytest
from command_line import Terminal, answers, run, running
from helpers import VECTORS, scaled
from sockets import (
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

from owlsocket_sync import AuthenFailed
from owlsocket_sync.cli.bench import quantile
from owlsocket_sync.cli.playground import playground
from owlsocket_sync.server import Request, Server, serve

CA = str(VECTORS / "tls" / "authority.pem")
FIGURES = ["min_ms", "avg_ms", "max_ms", "mdev_ms"]

# -- ping --------------------------------------------------------------------------------------------------------------


def test_each_ping_and_then_all_of_them_are_lines(playing: Server) -> None:
    """With what they say together."""
    result = run("ping", playing.url, "-c", "3", "-i", "0")
    *replies, together = answers(result)
    assert (result.returncode, [one["seq"] for one in replies]) == (0, [1, 2, 3])
    took = [one["ms"] for one in replies]
    assert (together["sent"], together["received"], together["loss_percent"]) == (3, 3, 0)
    assert (together["min_ms"], together["max_ms"]) == (min(took), max(took))
    assert abs(together["avg_ms"] - sum(took) / 3) < 0.01
    assert 0 <= together["mdev_ms"] <= max(took) - min(took)


def test_ping_speaks_as_ping_does_in_front_of_a_terminal(playing: Server) -> None:
    """And prints no JSON there."""
    with Terminal("ping", playing.url, "-c", "2", "-i", "0") as terminal:
        assert terminal.finish() == 0
    assert len(re.findall(rf"reply from {playing.url}/: seq=\d time=[\d.]+ ms\n", terminal.words)) == 2
    assert f"--- {playing.url}/ ping statistics ---\n2 sent, 2 received, 0% loss\n" in terminal.words
    assert re.search(r"rtt min/avg/max/mdev = ([\d.]+/){3}[\d.]+ ms\n", terminal.words)
    assert "{" not in terminal.words


def test_a_ping_that_nobody_answers_is_a_loss() -> None:
    """It is no end; where none is answered, the exit code is 4."""

    def answer_every_other(peer: RawPeer) -> None:
        peer.upgrade()
        for number in range(4):
            while (came := peer.read_frame()).opcode != PING:
                pass
            if number % 2 == 0:
                peer.send(frame(PONG, came.payload))
        peer.at_end()

    with ByteServer(answer_every_other) as server:
        result = run("ping", server.url, "-i", "0", "-c", "4", "--timeout", "0.5")
    *replies, together = answers(result)
    assert (result.returncode, [one["ms"] is None for one in replies]) == (0, [False, True, False, True])
    assert (together["sent"], together["received"], together["loss_percent"]) == (4, 2, 50.0)

    with ByteServer(lambda peer: (peer.upgrade(), peer.at_end())) as silent:
        result = run("ping", silent.url, "-i", "0", "-c", "2", "--timeout", "0.2")
    assert result.returncode == 4
    assert answers(result) == [
        {"seq": 1, "ms": None},
        {"seq": 2, "ms": None},
        {"sent": 2, "received": 0, "loss_percent": 100.0},
    ]


def test_ping_notices_the_end_of_the_connection_at_once() -> None:
    """Even in the middle of a long pause; what came is summed up."""
    with serve(playground) as server, running("ping", server.url, "-i", "60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        server.close()
        out, err = process.communicate(timeout=scaled(20))
    assert (process.returncode, '"sent": 1, "received": 1' in out) == (3, True)
    assert err == "the connection ended: 1001\n"


def test_an_interrupted_ping_sums_up(playing: Server) -> None:
    """Exit code 130."""
    with running("ping", playing.url, "-i", "60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        out, err = process.communicate(timeout=scaled(20))
    assert (process.returncode, '"sent": 1, "received": 1' in out, err.strip()) == (130, True, "interrupted")


# -- bench -------------------------------------------------------------------------------------------------------------


def test_bench_makes_as_many_calls_as_asked_for() -> None:
    """And tells how long they took, in order."""
    calls: list[Any] = []
    with serve(lambda conn, request: conn.perform("note", calls.append)) as server:
        result = run("bench", server.url, "note", '{"a": 1}', "--calls", "50", "--parallel", "7")
    (figures,) = answers(result)
    assert (result.returncode, calls) == (0, [{"a": 1}] * 50)
    assert (figures["calls"], figures["ok"], figures["failed"]) == (50, 50, 0)
    took = [figures[name] for name in ("min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")]
    assert took == sorted(took)
    assert figures["calls_per_second"] > 0


def test_bench_counts_what_fails_by_its_code(playing: Server) -> None:
    """The exit code is that of the first."""
    result = run("bench", playing.url, "fail", "--calls", "5", "--parallel", "2")
    (figures,) = answers(result)
    assert (result.returncode, figures["failed"], figures["errors"]) == (1, 5, {"ERROR": 5})
    assert "p50_ms" not in figures


def test_bench_ends_with_the_connection() -> None:
    """It does not go on failing."""
    with serve(lambda conn, request: conn.perform("leave", lambda: conn.close(1001))) as server:
        result = run("bench", server.url, "leave", "--calls", "100000", "--parallel", "2")
    (figures,) = answers(result)
    assert result.returncode == 3
    assert figures["calls"] < 100_000
    assert set(figures["errors"]) == {"CONNECTION_LOST"}


def test_bench_speaks_in_front_of_a_terminal(playing: Server) -> None:
    """In words."""
    with Terminal("bench", playing.url, "echo", "1", "--calls", "20") as terminal:
        assert terminal.finish() == 0
    assert re.search(r"20 calls answered, 0 failed, in [\d.e-]+ s: [\d,]+ calls/s with 10 callers\n", terminal.words)
    assert re.search(r"min/p50/p90/p99/max = ([\d.]+/){4}[\d.]+ ms\n", terminal.words)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.505, 51), (0.9, 90), (0.99, 99), (1.0, 100)]
)
def test_a_quantile_is_the_nearest_rank(share: float, value: float) -> None:
    """Of a hundred, and of one."""
    assert quantile([float(one) for one in range(1, 101)], share) == value
    assert quantile([7.0], share) == 7.0


# -- doctor ------------------------------------------------------------------------------------------------------------


def steps(result: Any) -> list[str]:
    """The steps that were told; all but the last must be well."""
    told = answers(result)
    assert all(one["ok"] for one in told[:-1])
    assert all(one["ms"] >= 0 for one in told)
    assert told[-1]["ok"] is (result.returncode == 0)
    return [one["step"] for one in told]


def test_a_way_that_is_well_is_walked_to_its_end(playing: Server) -> None:
    """Each step with its time."""
    result = run("doctor", playing.url)
    assert (result.returncode, steps(result)) == (0, ["dns", "tcp", "upgrade", "auth", "round trip"])
    assert answers(result)[3]["detail"] == "no token was given, and none asked for"


def test_tls_and_a_proxy_are_steps_of_their_own() -> None:
    """With the version, the cipher and the end of the certificate."""
    with serve(playground, ssl_context=server_context()) as server, ConnectProxy(server.port) as proxy:
        result = run("doctor", server.url, "--ca", CA, "--proxy", proxy.url, "--token-env", "T", env={"T": "s3cret"})
    assert (result.returncode, steps(result)) == (0, ["dns", "tcp", "proxy", "tls", "upgrade", "auth", "round trip"])
    tls = answers(result)[3]["detail"]
    assert re.match(r"TLSv1\.\d, \S+, certificate until Dec 31", tls), tls
    assert answers(result)[5]["detail"] == "the token did not keep us out"
    assert "s3cret" not in result.stdout


def answering(text: str) -> ByteServer:
    """A server that answers any request with this."""

    def answer(peer: RawPeer) -> None:
        peer.read_header()
        peer.send(text.encode())

    return ByteServer(answer)


def failure(*arguments: str, **options: Any) -> tuple[int, str, str, str]:
    """Exit code, the step that failed, its error, and what to do."""
    result = run("doctor", *arguments, **options)
    steps(result)
    last = answers(result)[-1]
    return result.returncode, last["step"], last["error"], last["advice"]


def test_a_host_that_nobody_knows_ends_at_dns() -> None:
    """Exit code 3."""
    code, step, error, advice = failure("ws://nowhere.invalid")
    assert (code, step) == (3, "dns")
    assert "nowhere.invalid is no known host" in error
    assert advice == "look at the spelling of nowhere.invalid, and at the network of this machine"


def test_a_port_where_nobody_listens_ends_at_tcp() -> None:
    """Exit code 3; one that swallows what comes is a timeout."""
    code, step, _, advice = failure(f"ws://127.0.0.1:{free_port()}")
    assert (code, step, "is the server running, and is the port right?" in advice) == (3, "tcp", True)
    with full_port() as port:
        code, step, _, advice = failure(f"ws://127.0.0.1:{port}", "--timeout", "0.3")
    assert (code, step, "firewall" in advice) == (4, "tcp", True)


def test_a_proxy_that_refuses_ends_at_proxy(playing: Server) -> None:
    """With what it wants."""
    with ConnectProxy(playing.port, "me:pw") as proxy:
        code, step, error, advice = failure(playing.url, "--proxy", proxy.url)
    assert (code, step, "407" in error) == (3, "proxy", True)
    assert "user and a password" in advice


def test_what_is_wrong_with_tls_ends_at_tls(playing: Server) -> None:
    """A server that speaks none, one that nobody vouches for, and one that goes silent."""
    code, step, _, advice = failure(playing.url.replace("ws:", "wss:"))
    assert (code, step, "try ws://" in advice) == (3, "tls", True)
    with serve(playground, ssl_context=server_context()) as server:
        code, step, error, advice = failure(server.url)
    assert (code, step, "does not hold" in error, "--ca PATH" in advice) == (3, "tls", True, True)
    with ByteServer(RawPeer.at_end) as silent:
        code, step, error, _ = failure(silent.url.replace("ws:", "wss:"), "--timeout", "0.3")
    assert (code, step, error) == (4, "tls", "the server did not finish the TLS handshake within 0.3 s")


@pytest.mark.parametrize(
    ("answer", "error", "advice"),
    [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404", "nothing at this path"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP 200", "no WebSocket at this URL"),
        ("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", "HTTP 400", "try wss://"),
        ("HTTP/1.1 301 Moved\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n", "a redirect to", "it leads to"),
        ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "HTTP 502", "is the server running?"),
        ("220 mail ready\r\n", "no WebSocket handshake", "no WebSocket at this URL"),
        ("", "", "its log"),
    ],
)
def test_an_answer_that_is_no_upgrade_ends_at_upgrade(answer: str, error: str, advice: str) -> None:
    """Exit code 3, with what it most likely means."""
    with answering(answer) as server:
        code, step, told, what_to_do = failure(server.url)
    assert (code, step) == (3, "upgrade")
    assert error in told
    assert advice in what_to_do


def test_a_refused_token_ends_at_auth() -> None:
    """Exit code 5; the upgrade before it says that the server is there."""

    def refuse(request: Request) -> None:
        raise AuthenFailed("too old")

    with serve(playground, authenticate=refuse) as server:
        code, step, error, advice = failure(server.url, "--token-env", "T", env={"T": "s3cret"})
    assert (code, step, "too old" in error) == (5, "auth", True)
    assert "--token-env or --token-file" in advice


def test_a_server_that_hangs_up_ends_at_the_round_trip() -> None:
    """At once, or behind its first answer: exit code 3, with its close code."""

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


def test_the_doctor_speaks_in_front_of_a_terminal() -> None:
    """Where the way ends, with what to do in a line of its own."""
    with Terminal("doctor", f"ws://127.0.0.1:{free_port()}") as terminal:
        assert terminal.finish() == 3
    assert re.search(r"ok  dns +[\d.]+ ms  127\.0\.0\.1\n", terminal.words)
    assert re.search(r"no  tcp +[\d.]+ ms  .*refused\n    nobody listens there", terminal.words)
    assert "{" not in terminal.words
