"""System checks of the Django app: errors for invalid settings, warnings for risks, each with a hint."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from owlsocket_sync import Backoff
from owlsocket_sync.hub import MemoryHub
from owlsocket_sync.stores import MemoryStore
from support import django_project

django_project.set_up()

from django.core.checks import CheckMessage, run_checks  # noqa: E402
from django.test import override_settings  # noqa: E402

HERE = Path(__file__).parent
QUEUE = MemoryStore().queue("a")
FINE = {"URL": "wss://api.example.com/ws"}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvd2wifQ.c2VjcmV0"


def found(deploy: bool = False, **entries: Any) -> list[CheckMessage]:
    """Return the messages of the checks for these entries."""
    with override_settings(OWLSOCKET=entries):
        return list(run_checks(tags=["owlsocket"], include_deployment_checks=deploy))


def only(**entries: Any) -> tuple[str, str]:
    """Return the id and the text of the only message."""
    (message,) = found(**entries)
    assert isinstance(message, CheckMessage)
    return str(message.id), f"{message.msg} {message.hint or ''}"


def test_a_valid_entry_has_no_message() -> None:
    """A complete entry produces no message, with ``--deploy`` either."""
    whole = {
        "URL": "wss://api.example.com/ws",
        "TOKEN": "contrib.project.shop.tokens.read",
        "TIMEOUTS": {"CONNECT": 5, "CALL": 7.5},
        "OPTIONS": {
            "workers": 2,
            "reconnect": Backoff(initial=1),
            "headers": {"X-Shop": "1"},
            "compression": "deflate",
            "name": "shop",
        },
        "AUTOSTART": True,
        "INBOX": "contrib.project.shop.tokens.read",  # a callable, which is called when a client connects
        "OUTBOX": f"sqlite:///{HERE}/queue.db?queue=to-server",
        "HUB": "redis://localhost/0?prefix=shop&maxlen=100&socket_timeout=3",
    }
    login = {**FINE, "AUTH": {"URL": "https://auth.example.com", "KEY": "contrib.project.shop.tokens.read"}}
    local = {"URL": "ws://127.0.0.1:8080/", "TOKEN": lambda: "t", "CALL_TIMEOUT": 3}
    assert found(default=whole, login=login, local=local, deploy=True) == []
    assert found(default={"URL": lambda: "wss://a"}) == []
    assert found(default={"HUB": MemoryHub()}) == []  # it only publishes


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({}, "OWLSOCKET has no 'default'. Set a URL"),
        ({"other": FINE}, "OWLSOCKET has no 'default'. Set a URL"),
        ({"defaults": FINE}, "OWLSOCKET has no 'default'. Did you mean 'default' by 'defaults'?"),
        ({"default": {}}, "['URL'] is missing. Example: \"wss://"),
        ({"default": {"HUB": MemoryHub(), "OUTBOX": QUEUE}}, "['URL'] is missing, which OUTBOX needs"),
        ({"default": {"HUB": MemoryHub(), "AUTOSTART": True}}, "['URL'] is missing, which AUTOSTART needs"),
        ({"default": {"URL": "https://a"}}, "url must start with ws:// or wss://: 'https://a'"),
        ({"default": {"URL": "wss://me:secret@a"}}, "url must not contain a user name or password"),
        ({"default": {"URL": 7}}, "['URL'] must be text or a callable, not int"),
        (
            {"default": FINE, "stock": {"URL": "wss://"}},
            "['stock']['URL'] is invalid: url must have a host",
        ),
    ],
)
def test_e001_invalid_url(entries: dict[str, Any], says: str) -> None:
    """The default entry is required, and each entry needs a valid URL."""
    id, text = only(**entries)
    assert id == "owlsocket.E001"
    assert says in text
    assert "secret" not in text


def test_e001_no_dictionary() -> None:
    """A list is named as what it is."""
    with override_settings(OWLSOCKET=[FINE]):
        (message,) = run_checks(tags=["owlsocket"])
    assert (message.id, message.msg) == ("owlsocket.E001", "OWLSOCKET must be a dictionary, not list.")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"TOKN": "x"}, "has the unknown name 'TOKN'. Did you mean 'TOKEN'?"),
        ({"timeouts": {}}, "Did you mean 'TIMEOUTS'?"),
        ({"COLOUR": 1}, "Known names: URL, TOKEN, AUTH,"),
        ({"OPTIONS": {"worker": 3}}, "Did you mean 'workers'?"),
        ({"OPTIONS": {"workers": 0}}, "workers must be a whole number, 1 or more, not 0"),
        ({"OPTIONS": {"reconnect": 3}}, "reconnect must be a Backoff or None, not 3"),
        ({"OPTIONS": {"compression": "gzip"}}, "compression must be 'deflate', a Deflate or None, not 'gzip'"),
        ({"OPTIONS": {"proxy": "ftp://a"}}, "proxy"),
        ({"OPTIONS": {"token": "x"}}, "contains 'token'. Use the key 'TOKEN' instead."),
        ({"OUTBOX": 7}, "['OUTBOX'] is invalid: needed is a queue of a store, its URL, or a callable that returns it"),
        ({"INBOX": "/var/queue.db"}, "['INBOX'] is invalid: the URL of a queue begins with sqlite:/// or redis://"),
        ({"INBOX": "sqlite:///queue.db"}, "['INBOX'] is invalid: the URL names no queue: add ?queue=NAME"),
        ({"OUTBOX": "contrib.project.shop.nothing"}, "['OUTBOX'] cannot be imported"),
        ({"HUB": "http://localhost"}, "['HUB'] is invalid: a hub is named by a path, sqlite:/// or redis://"),
        ({"HUB": 7}, "['HUB'] is invalid: needed is a hub, its URL, or a callable that returns it, not int"),
        ({"OUTBOX": f"sqlite:///{HERE}/q.db?queue=a", "INBOX": f"sqlite:///{HERE}/q.db?queue=a"}, "are one queue, 'a'"),
        ({"OUTBOX": QUEUE, "INBOX": QUEUE}, "['OUTBOX'] and OWLSOCKET['default']['INBOX'] are one queue, 'a'"),
        (
            {"OUTBOX": f"sqlite:///{HERE}/q.db?queue=a", "HUB": f"{HERE}/q.db"},
            "['HUB'] and OWLSOCKET['default']['OUTBOX']",
        ),
        ({"HUB": "redis://:secret@localhost:port/0"}, "['HUB'] is invalid: not a URL of Redis"),
        (
            {"HUB": "redis://localhost/0?maxlenn=7"},
            "['HUB'] is invalid: unknown option 'maxlenn' in the URL of a Redis",
        ),
        ({"OUTBOX": "redis://localhost:99999/0?queue=a"}, "['OUTBOX'] is invalid: not a URL of Redis"),
        ({"OPTIONS": {"outbox": None}}, "contains 'outbox'. Use the key 'OUTBOX' instead."),
        ({"OPTIONS": {"wait": False}}, "Remove it: a client connects at its first use."),
        ({"OPTIONS": 5}, "['OPTIONS'] must be a dict of options of connect()"),
        ({"TIMEOUTS": {"CAL": 3}}, "Did you mean 'CALL'?"),
        ({"TIMEOUTS": {"CALL": -3}}, "must be a number of seconds, 0 or more"),
        ({"TIMEOUTS": 3}, "must be a dict with CONNECT, CALL or both"),
        ({"CALL_TIMEOUT": "3"}, "CALL_TIMEOUT must be a number of seconds"),
        (
            {"CALL_TIMEOUT": 3, "TIMEOUTS": {"CALL": 3}},
            "more than once: TIMEOUTS['CALL'], CALL_TIMEOUT",
        ),
        ({"CALL_TIMEOUT": 3, "OPTIONS": {"call_timeout": 3}}, "sets call_timeout more than once"),
        ({"AUTOSTART": "yes"}, "['AUTOSTART'] must be True or False"),
        ({"TOKEN": "contrib.project.shop.tokens.red"}, 'does not define a "red" attribute/class'),
        (
            {"TOKEN": "contrib.project.shop.tokens.LETTERS"},
            "must be a callable, or the dotted path of a callable, not str",
        ),
        ({"TOKEN": 5}, "must be a callable, or the dotted path of a callable, not int"),
        ({"AUTH": "contrib.project.shop.tokens.log_in"}, "['AUTH'] cannot be imported"),
        ({"AUTH": {"KEY": "contrib.project.shop.tokens.read"}}, "['AUTH']['URL'] is missing"),
        ({"AUTH": {"URL": "https://a"}}, "['AUTH']['KEY'] is missing"),
        ({"AUTH": {"URL": "a", "KEY": "contrib.project.shop.tokens.read"}}, "must be http:// or https:// with a host"),
        (
            {"TOKEN": lambda: "t", "AUTH": {"URL": "https://a", "KEY": "contrib.project.shop.tokens.read"}},
            "has both a TOKEN and an AUTH with a login",
        ),
    ],
)
def test_e002_invalid_option(more: dict[str, Any], says: str) -> None:
    """The message names the option and suggests the nearest known one."""
    id, text = only(default={**FINE, **more})
    assert id == "owlsocket.E002"
    assert says in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"OUTBOX": "sqlite:////nowhere/at/all/queue.db?queue=a"}, "['OUTBOX']: /nowhere/at/all is not a folder."),
        ({"HUB": "sqlite:////nowhere/hub.db"}, "['HUB']: /nowhere is not a folder."),
        ({"HUB": str(HERE)}, f"['HUB']: {HERE} is a folder, not a file."),
    ],
)
def test_w005_no_folder(more: dict[str, Any], says: str) -> None:
    """A warning: it may be there when the project runs."""
    id, text = only(default={**FINE, **more})
    assert id == "owlsocket.W005"
    assert says in text


def test_all_errors_are_reported_at_once() -> None:
    """One run of the checks reports all errors."""
    messages = found(default={"TOKN": 1, "OPTIONS": {"worker": 3}}, stock=5)
    assert sorted(str(message.id) for message in messages) == ["owlsocket.E001", *["owlsocket.E002"] * 3]


@pytest.mark.parametrize(("url", "expected"), [("ws://api.example.com/", 1), ("ws://localhost/", 0), ("wss://a/", 0)])
def test_w001_unencrypted_connection(url: str, expected: int) -> None:
    """An unencrypted connection is reported for deployment only."""
    assert [message.id for message in found(default={"URL": url}, deploy=True)] == ["owlsocket.W001"] * expected
    assert found(default={"URL": url}) == []


def test_w002_unverified_certificate() -> None:
    """Either half of the verification is required: the certificate and the host name."""
    context = ssl.create_default_context()
    assert found(default={**FINE, "OPTIONS": {"ssl_context": context}}) == []
    context.check_hostname = False
    assert only(default={**FINE, "OPTIONS": {"ssl_context": context}})[0] == "owlsocket.W002"
    context.verify_mode = ssl.CERT_NONE
    assert only(default={**FINE, "OPTIONS": {"ssl_context": context}})[0] == "owlsocket.W002"


@pytest.mark.parametrize("secret", ["c2VjcmV0", JWT, "ED25519-BASIC-TOKEN c2VjcmV0", "no_such_package.tokens.read"])
def test_w003_secret_in_the_settings(secret: str) -> None:
    """The warning does not contain the token or the key."""
    for more in ({"TOKEN": secret}, {"AUTH": {"URL": "https://a.example.com", "KEY": secret}}):
        id, text = only(default={**FINE, **more})
        assert id == "owlsocket.W003"
        assert secret not in text
        assert "Use the dotted path of a callable" in text


def test_w004_unpatched_gevent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpatched threads are reported only if gevent is imported."""
    monkeypatch.delitem(sys.modules, "gevent", raising=False)
    monkeypatch.delitem(sys.modules, "gevent.monkey", raising=False)
    assert found(default=FINE) == []
    monkeypatch.setitem(sys.modules, "gevent", ModuleType("gevent"))
    assert only(default=FINE)[0] == "owlsocket.W004"
    monkey = ModuleType("gevent.monkey")
    patched = {"threading"}
    monkey.is_module_patched = lambda name: name in patched  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    assert found(default=FINE) == []
    patched.clear()
    assert only(default=FINE)[0] == "owlsocket.W004"
