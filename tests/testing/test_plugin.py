"""The fixtures as a user's own tests have them, in a pytest of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.helpers import scaled

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet")]

CONFTEST = """
import pytest

@pytest.fixture
def owlsocket_handler():
    def handler(conn, request):
        conn.perform("greet", lambda name: f"Hello, {name}!")
    return handler
"""

TESTS = """
import threading
from owlsocket_sync import ConnectionState, connect

def test_the_handler_is_ours(owlsocket_connection):
    assert owlsocket_connection.call("greet", "Ada", timeout=10) == "Hello, Ada!"

def test_it_comes_back(owlsocket_connection, fault_proxy):
    back = threading.Event()
    owlsocket_connection.on_state(lambda change: change == ConnectionState.OPEN and back.set())
    fault_proxy.cut()
    assert back.wait(10)
    assert owlsocket_connection.call("greet", "Bob", timeout=10) == "Hello, Bob!"
    assert fault_proxy.accepted == 2

def test_a_second_connection(owlsocket_server, owlsocket_connection):
    with connect(owlsocket_server.url) as second:
        assert len(owlsocket_server.connections) == 2
        assert second.call("greet", "Eve", timeout=10) == "Hello, Eve!"

def test_a_black_hole_does_not_hold_up_the_end(fault_proxy, owlsocket_connection):
    fault_proxy.blackhole()
"""

DEFAULT = """
def test_echo(owlsocket_connection):
    assert owlsocket_connection.call("echo", {"a": [1, None]}, timeout=10) == {"a": [1, None]}
"""

ORDER = """
import pytest
from owlsocket_sync import Connection
from owlsocket_sync.server import Server
from owlsocket_sync.testing import FaultProxy

ended = []

@pytest.fixture(autouse=True, scope="module")
def noted():
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Connection, FaultProxy, Server):
            def noting(self, *arguments, _close=kind.close, _name=kind.__name__, **options):
                if _name != "Connection" or self.name.startswith("owlsocket-") and "server" not in self.name:
                    ended.append(_name)
                return _close(self, *arguments, **options)
            patch.setattr(kind, "close", noting)
        yield

def test_use(ARGUMENTS):
    pass

def test_order():
    assert list(dict.fromkeys(ended)) == ["Connection", "FaultProxy", "Server"]
"""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the environment of this run from the runs inside it."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        monkeypatch.delenv(name, raising=False)


def passed(pytester: pytest.Pytester, count: int) -> None:
    """Run the tests that were written, with every warning an error."""
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", timeout=scaled(60))
    result.assert_outcomes(passed=count)


def test_the_fixtures_need_no_import(pytester: pytest.Pytester) -> None:
    """With an own handler, and with faults of the network."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    passed(pytester, 4)


def test_without_a_handler_the_server_echoes(pytester: pytest.Pytester) -> None:
    """The default handler answers ``echo``."""
    pytester.makepyfile(DEFAULT)
    passed(pytester, 1)


@pytest.mark.parametrize(
    "arguments",
    ["owlsocket_server, fault_proxy, owlsocket_connection", "owlsocket_connection, fault_proxy, owlsocket_server"],
)
def test_all_ends_in_order(pytester: pytest.Pytester, arguments: str) -> None:
    """Connection, proxy, server, in whatever order a test requests them."""
    pytester.makepyfile(ORDER.replace("ARGUMENTS", arguments))
    passed(pytester, 2)


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    """Every run of pytest imports it, so it imports neither a library nor the rest of this package."""
    script = """
import sys, pytest
before = set(sys.modules)
import owlsocket_sync.testing.plugin
print(sorted(set(sys.modules) - before - set(sys.stdlib_module_names)))
"""
    seen = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=scaled(30), check=True
    )
    ours = ["owlsocket_sync", "owlsocket_sync.lazy", "owlsocket_sync.testing", "owlsocket_sync.testing.plugin"]
    assert seen.stdout.strip() == str(ours)
