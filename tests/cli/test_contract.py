"""``owlsocket describe`` and ``stub``: the contract of a server, for people, scripts and callers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from owlsocket_sync.contracts import python_stub, typescript_stub
from owlsocket_sync.server import Server, serve
from support.command_line import Terminal, answers, complaint, run
from support.contracts import CONTRACT, register

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server that describes itself."""
    with serve(register, describe=CONTRACT) as server:
        yield server


def test_describe_prints_one_line_of_json(server: Server) -> None:
    """For scripts."""
    result = run("describe", server.url)
    (description,) = answers(result)
    assert result.returncode == 0
    assert description["methods"]["shop.find"]["doc"] == "Find an article."
    assert set(description["events"]) == {"tick", "moved", "closing"}


def test_describe_prints_text_on_a_terminal(server: Server) -> None:
    """For people."""
    with Terminal("describe", server.url) as terminal:
        assert terminal.finish() == 0
    assert (
        '    shop.find(number: int, size: Size = "large") -> Article | None\n        Find an article.\n'
        in terminal.words
    )
    assert "    tick: Tick\n" in terminal.words
    assert "    class Size(Enum):\n" in terminal.words


def test_stub_prints_what_the_library_writes(server: Server) -> None:
    """In both languages, on stdout."""
    (description,) = answers(run("describe", server.url))
    assert run("stub", server.url).stdout == python_stub(description)
    assert run("stub", server.url, "--typescript").stdout == typescript_stub(description)


def test_stub_writes_a_file(server: Server, tmp_path: Path) -> None:
    """A folder that is not there is an error of the command line."""
    path = tmp_path / "shop_contract.py"
    result = run("stub", server.url, "--out", str(path))
    assert (result.returncode, result.stdout) == (0, "")
    assert "class Shop(Protocol):" in path.read_text()
    refused = run("stub", server.url, "--out", str(tmp_path / "nowhere" / "stub.py"))
    assert refused.returncode == 2
    assert "cannot write" in complaint(refused)


def test_a_server_that_does_not_describe_itself_is_named(demo_server: Server) -> None:
    """After the timeout, with what to do."""
    result = run("describe", demo_server.url, "--timeout", "0.5")
    assert result.returncode == 4
    assert "serve(describe=True) or owlsocket serve --describe" in complaint(result)
