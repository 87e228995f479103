"""What is loaded by an import, looked at in fresh interpreters: what is rarely needed must wait until it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from owlsocket_sync.server import serve
from support.handlers import echo

DEAR = (
    "requests dataclasses_json marshmallow asyncio cryptography Crypto base58 rfc8785 websockets click rich "
    "pytest django flask redis"
).split()
PARTS = ["auth", "cli", "context", "contrib", "server", "testing"]
CONNECT = "from owlsocket_sync import connect, Connection"


def loaded(statements: str, before: str = "") -> set[str]:
    """The modules that statements load in an interpreter of their own, besides those loaded ``before``."""
    script = f"import sys\n{before}\nthere = set(sys.modules)\n{statements}\nprint(*(set(sys.modules) - there))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("statement", ["import owlsocket_sync", CONNECT])
def test_an_import_loads_nothing_dear(statement: str) -> None:
    """Neither what serves extras, nor asyncio, nor what belongs to servers, commands and tests."""
    names = loaded(statement)
    assert "owlsocket_sync" in names
    assert sorted(names.intersection(DEAR)) == []
    assert [part for part in PARTS if f"owlsocket_sync.{part}" in names] == []


def test_the_package_alone_loads_next_to_nothing() -> None:
    """No part of it before a name is asked for, and no library."""
    names = loaded("import owlsocket_sync")
    assert {name for name in names if name.startswith("owlsocket_sync")} == {"owlsocket_sync", "owlsocket_sync.lazy"}
    names -= loaded("import logging")  # which loads more of the standard library in each version
    assert not names & {"websocket", "orjson", "ssl", "socket", "concurrent.futures", "dataclasses", "json"}


def test_connect_loads_what_a_link_needs_and_no_more() -> None:
    """Its libraries are there before the first link; what failures and snapshots need is not."""
    names = loaded(CONNECT)
    assert {"websocket", "orjson", "ssl", "concurrent.futures"} <= names
    assert not names & {"random", "urllib.request", "http.client", "owlsocket_sync.protocol.stats"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import owlsocket_sync; owlsocket_sync.Stats", "owlsocket_sync.protocol.stats"),
        ("Backoff().delay(1)", "random"),
    ],
)
def test_what_waits_comes_when_it_is_needed(statement: str, module: str) -> None:
    """Each of them is loaded by the first use of what needs it."""
    before = "from owlsocket_sync import connect, Backoff"
    assert module not in loaded(before)
    assert module in loaded(statement, before)


def test_calls_load_no_event_loop() -> None:
    """Neither a call, nor a future, nor many at once: programs without a loop do not pay for ``asyncio``."""
    script = (
        "import sys\nfrom owlsocket_sync import connect\n"
        "with connect(sys.argv[1]) as conn:\n"
        "    assert conn.call('echo', 1) == conn.submit('echo', 1).result() == 1\n"
        "    assert list(conn.map('echo', range(9))) == list(range(9))\n"
        "print('asyncio' in sys.modules)"
    )
    with serve(echo) as server:
        command = [sys.executable, "-c", script, server.url]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"
