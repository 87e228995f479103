"""The names that users rely on are there, and cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest

import owlsocket_sync

RELIED_ON = """
connect Connection ConnectionState AuthenticationStage MessageType CALL_TIMEOUT Message CallMessage EventMessage
AuthMessage is_message is_call_message is_event_message is_auth_message Subscription Stream Consumed Backoff Heartbeat
Limits InsecureTransportWarning register_error_class ResilientError SocketError SocketInitializationError
SocketConnectionError SocketUnauthorized SocketUnsupported SocketTimeout SocketMessageError SocketMessageMalformed
AuthError AuthUnknown AuthManagerError AuthManagerUnsupported AuthenFailed AuthenExists AuthenPayloadError
AuthPluginError TypeMissmatchError AuthorizationError AuthForbidden ProfileError ProfileConsistencyError AuthenCredError
AuthFailedError AccessError AuthMalformed LoginTimeout MissingExtra Instrument Operation Outcome instrument connections
ANONYMOUS CallFuture CallResults Deflate StoreError StoreFull StoreCorrupt
""".split()

VERBS = """
notify observe call submit map perform request stream observe_response acknowledge reply listen auth authenticate
prepare enqueue enqueued consume messages events batch deadline ping latency state on_state on_error wait_open
wait_closed drain reconnect stats instrument accepted proxy expose send receive close stage default_call_timeout url
name id join leave rooms
""".split()

DEAR = [
    "websockets",
    "requests",
    "dataclasses_json",
    "marshmallow",
    "asyncio",
    "click",
    "rich",
    "cryptography",
    "websocket",
    "sqlite3",
]


@pytest.mark.parametrize("name", RELIED_ON)
def test_a_name_that_is_relied_on_can_be_imported(name: str) -> None:
    """Each is in ``__all__`` and has a home."""
    assert name in owlsocket_sync.__all__
    assert getattr(owlsocket_sync, name) is not None


def test_all_names_nothing_that_is_not_there() -> None:
    """Each name of ``__all__`` can be had, and ``dir`` shows it."""
    for name in owlsocket_sync.__all__:
        assert getattr(owlsocket_sync, name) is not None
    assert set(owlsocket_sync.__all__) <= set(dir(owlsocket_sync))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = owlsocket_sync.nothing


@pytest.mark.parametrize(
    "package", ["owlsocket_sync", "owlsocket_sync.auth", "owlsocket_sync.testing", "owlsocket_sync.stores"]
)
def test_no_exported_name_is_that_of_a_module(package: str) -> None:
    """The import of the module, by any other part, would put the module in the place of what it defines."""
    module = import_module(package)
    assert {found.name for found in iter_modules(module.__path__)} & set(module.__all__) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_a_connection_has_every_verb(verb: str) -> None:
    """A script needs nothing but a connection."""
    assert hasattr(owlsocket_sync.Connection, verb) or verb in owlsocket_sync.Connection.__init__.__code__.co_names


def test_importing_the_package_imports_nothing_dear() -> None:
    """``import owlsocket_sync`` is light."""
    script = f"import sys, owlsocket_sync; print([name for name in {DEAR!r} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert seen.stdout.strip() == "[]"


def test_the_client_imports_no_server() -> None:
    """``connect`` needs neither the server's library nor an event loop."""
    script = (
        "import sys; from owlsocket_sync import connect; print('websockets' in sys.modules, 'asyncio' in sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert seen.stdout.strip() == "False False"


AUTH = """
KeyPair Envelope Login StageLogin Guard Authority User ReplayStore MemoryReplayStore AuthStepResult SignatureAuth
TokenAuth login_app Auth AuthCredentials AllowanceRequest AllowanceResponse AuthToken Profile PermissionSet
AttributeSet AuthRole AuthenticationType AuthorizationType EnvelopeKind
""".split()


@pytest.mark.parametrize("name", AUTH)
def test_what_authentication_offers_can_be_imported(name: str) -> None:
    """From one place."""
    from owlsocket_sync import auth

    assert name in auth.__all__
    assert getattr(auth, name) is not None


STORES = """
SqliteStore MemoryStore Queue Delivery DeadLetter QueueStats Store StoredQueue Outgoing Incoming Lead Draft Stored Entry
Bounds Position
""".split()


@pytest.mark.parametrize("name", STORES)
def test_what_stores_offer_can_be_imported(name: str) -> None:
    """From one place."""
    from owlsocket_sync import stores

    assert name in stores.__all__
    assert getattr(stores, name) is not None
    with pytest.raises(AttributeError):
        _ = stores.nothing


@pytest.mark.slow
def test_logging_in_imports_no_models() -> None:
    """``dataclasses_json`` is for those who look at who they are."""
    script = "import sys; from owlsocket_sync.auth import Login, KeyPair; print('dataclasses_json' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert seen.stdout.strip() == "False"


PARTS = [
    ("server", "serve", "websockets"),
    ("auth", "Login", "cryptography"),
    ("contrib.django", "client", "django"),
    ("contrib.flask", "OwlSocket", "flask"),
    ("contrib.flask.routes", "WebSocketRoute", "simple_websocket"),
    ("contrib.otel", "OwlSocketInstrumentor", "opentelemetry"),
    ("contrib.prometheus", "OwlSocketMetrics", "prometheus_client"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("part", "name", "package"), PARTS, ids=[part for part, *_ in PARTS])
def test_a_part_without_its_extra_raises_an_import_error(part: str, name: str, package: str) -> None:
    """It is one of ours as well, and names the package: `except ImportError` makes a part optional."""
    script = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        f"sys.modules[{package!r}] = None\n"
        f"util.find_spec = lambda name, *rest: None if name == {package!r} else find(name, *rest)\n"
        "from owlsocket_sync import MissingExtra, SocketInitializationError\n"
        f"try: from owlsocket_sync.{part} import {name}\n"
        "except ImportError as error: print(type(error).__name__, error.name, error)\n"
        "assert issubclass(MissingExtra, SocketInitializationError)"
    )
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.startswith(f"MissingExtra {package}")
    assert "python -m pip install 'owlsocket-sync[" in seen.stdout


def test_without_its_extra_authentication_says_what_to_install() -> None:
    """In one line."""
    script = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'rfc8785' else find(name, *rest)\n"
        "import owlsocket_sync.auth"
    )
    seen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert "MissingExtra" in seen.stderr.splitlines()[-1]
    assert "python -m pip install 'owlsocket-sync[auth]'" in seen.stderr.splitlines()[-1]
