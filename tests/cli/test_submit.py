"""``owlsocket submit``: every line has its result, in order."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync import Connection
from owlsocket_sync.server import Request, Server, serve
from owlsocket_sync.testing import FaultProxy
from support.command_line import OWLSOCKET, PATIENCE, Terminal, answers, complaint, run
from support.deep_json import JSON_IS_SHALLOW, TOO_DEEP
from support.helpers import scaled

pytestmark = pytest.mark.slow


def without_seconds(outcomes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results without their durations, which each call that was sent has."""
    for outcome in outcomes:
        if outcome.get("error", {}).get("code") != "USAGE":
            assert outcome.pop("seconds") >= 0
    return outcomes


def test_results_are_in_the_order_of_the_lines(demo_server: Server) -> None:
    """Both forms of a line, ids, errors and timeouts; the exit code is that of the first failed line."""
    lines = [
        '["slow", 0.2]',
        '{"method": "add", "args": [2, 3], "id": {"row": 7}}',
        "",
        '["fail", "no owls"]',
        '{"method": "slow", "args": [1], "timeout": 0.1}',
        '["echo"]',
    ]
    result = run("submit", demo_server.url, stdin="\n".join(lines))
    assert result.returncode == 1
    assert without_seconds(answers(result)) == [
        {"line": 1, "ok": True, "result": "slept 0.2 s"},
        {"line": 2, "id": {"row": 7}, "ok": True, "result": 5},
        {"line": 4, "ok": False, "error": {"type": "RuntimeError", "message": "no owls", "code": "ERROR"}},
        {
            "line": 5,
            "ok": False,
            "error": {
                "type": "SocketErrorTimeout",
                "message": "call 'slow' was not answered within 0.1 s",
                "code": "TIMEOUT",
            },
        },
        {"line": 6, "ok": True, "result": []},
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("add 2 3", "invalid JSON"),
        ("7", "a line is"),
        ("[]", "a line is"),
        ("[7]", "the method must be a string"),
        ('{"args": [1], "verb": "x"}', "unknown key 'verb'"),
        ('{"method": "x", "args": 1}', "the arguments a list"),
        ('{"method": "x", "timeout": "soon"}', "the timeout must be a number"),
        ('["echo", 1e999]', "too large"),
        pytest.param(f'["echo", {TOO_DEEP}]', "nested", marks=JSON_IS_SHALLOW),
        (b"\xff", "invalid JSON"),
    ],
)
def test_an_invalid_line_fails_alone(demo_server: Server, line: str | bytes, words: str) -> None:
    """The other lines are called; the exit code is 2."""
    data = line if isinstance(line, bytes) else line.encode()
    result = run("submit", demo_server.url, stdin=data + b'\n["add", 2, 3]')
    bad, good = without_seconds(answers(result))
    assert (result.returncode, bad["ok"], bad["error"]["code"]) == (2, False, "USAGE")
    assert words in bad["error"]["message"]
    assert good == {"line": 2, "ok": True, "result": 5}


class Rendezvous:
    """A handler whose calls return only when a number of them are in flight."""

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties)
        self._lock = threading.Lock()
        self._here = 0
        self.most = 0

    def __call__(self, conn: Connection, request: Request) -> None:
        """Answer ``meet``."""
        conn.perform("meet", self._meet)

    def _meet(self) -> bool:
        with self._lock:
            self._here += 1
            self.most = max(self.most, self._here)
        self._barrier.wait(scaled(PATIENCE))
        with self._lock:
            self._here -= 1
        return True


def test_parallel_bounds_the_calls_in_flight() -> None:
    """Four calls that wait for one another, three times, and never a fifth."""
    rendezvous = Rendezvous(4)
    with serve(rendezvous, workers=20) as server:
        result = run("submit", server.url, "--parallel", "4", stdin='["meet"]\n' * 12)
    assert (result.returncode, [outcome["ok"] for outcome in answers(result)], rendezvous.most) == (0, [True] * 12, 4)


def test_a_result_is_printed_before_the_next_line_arrives(demo_server: Server) -> None:
    """As after ``tail -f``."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*OWLSOCKET, "submit", demo_server.url], stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8"
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            for number in range(2):
                process.stdin.write(f'["echo", {number}]\n')
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["result"] == number
            out, err = process.communicate(timeout=scaled(PATIENCE))
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_file_may_be_longer_than_the_read_ahead(demo_server: Server, tmp_path: Path) -> None:
    """From a path."""
    file = tmp_path / "calls.jsonl"
    file.write_text("".join(f'["echo", {number}]\n' for number in range(12_000)))
    result = run("submit", demo_server.url, str(file), "--parallel", "200", "--timeout", "60")
    assert (result.returncode, [outcome["result"] for outcome in answers(result)]) == (0, list(range(12_000)))


def test_a_lost_connection_fails_the_remaining_calls() -> None:
    """Each line has a result, and the exit code is 3."""
    with serve(lambda conn, request: conn.perform("leave", lambda: conn.close(1001, "bye"))) as server:
        result = run("submit", server.url, "--parallel", "1", stdin='["leave"]\n["leave"]\n["leave"]\n')
    outcomes = answers(result)
    assert (result.returncode, [outcome["ok"] for outcome in outcomes]) == (3, [False] * 3)
    assert {outcome["error"]["code"] for outcome in outcomes} == {"CONNECTION_LOST"}


def test_retry_survives_a_lost_connection(demo_server: Server) -> None:
    """Pending calls are sent again on the next link."""
    with FaultProxy("127.0.0.1", demo_server.port) as proxy:
        proxy.cut(after=2000)
        result = run("submit", proxy.url(), "--retry", "--parallel", "5", stdin='["echo", "owl"]\n' * 60)
        assert proxy.accepted > 1
    assert (result.returncode, [outcome["result"] for outcome in answers(result)]) == (0, ["owl"] * 60)


def test_a_missing_file_is_a_usage_error() -> None:
    """Exit code 2."""
    result = run("submit", "ws://x", "nowhere.jsonl")
    assert (result.returncode, "nowhere.jsonl" in complaint(result)) == (2, True)


def test_a_progress_bar_is_shown_on_stderr(demo_server: Server, tmp_path: Path) -> None:
    """If stderr is a terminal and stdout is a pipe."""
    file = tmp_path / "calls.jsonl"
    file.write_text('["echo", 1]\n' * 5 + '["fail"]\n')
    with Terminal("submit", demo_server.url, str(file), stdin=False, stdout=False) as terminal:
        assert terminal.finish() == 1
        assert terminal.process.stdout is not None
        lines = terminal.process.stdout.read().splitlines()
    assert [json.loads(line)["ok"] for line in lines] == [True] * 5 + [False]
    assert "6/6" in terminal.words
    assert "1 failed" in terminal.words


def test_no_progress_bar_is_mixed_with_results(demo_server: Server) -> None:
    """If stdout is the same terminal."""
    with Terminal("submit", demo_server.url, env={"NO_COLOR": "1"}) as terminal:
        terminal.enter('["echo", 1]\n')
        terminal.await_words('"result": 1')
        terminal.enter("\x04")
        assert terminal.finish() == 0
    assert "failed" not in terminal.words


def test_an_interrupt_ends_submit() -> None:
    """Exit code 130, with the finished results printed and nothing else."""

    def never(conn: Connection, request: Request) -> None:
        conn.perform("echo", lambda value: value)
        conn.perform("never", lambda: conn.wait_closed(scaled(PATIENCE)).code)

    with serve(never) as server, Terminal("submit", server.url, stdout=False) as terminal:
        terminal.enter('["echo", 1]\n["never"]\n')
        assert terminal.process.stdout is not None
        assert json.loads(terminal.process.stdout.readline())["result"] == 1
        terminal.process.send_signal(2)
        assert terminal.finish() == 130
        assert terminal.process.stdout.read() == b""
    assert "interrupted" in terminal.words
    assert "Traceback" not in terminal.words
