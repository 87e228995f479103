"""Django's system checks: what cannot be used is an error, what is unwise a warning, each with what to do."""

from __future__ import annotations

import ssl
import sys
from types import ModuleType
from typing import Any

import django_project
import pytest

from owlsocket_sync import Backoff

django_project.set_up()

from django.core.checks import CheckMessage, run_checks  # noqa: E402
from django.test import override_settings  # noqa: E402

FINE = {"URL": "wss://api.example.com/ws"}
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvd2wifQ.c2VjcmV0"


def found(deploy: bool = False, **entries: Any) -> list[CheckMessage]:
    """What the checks say of these entries."""
    with override_settings(OWLSOCKET=entries):
        return list(run_checks(tags=["owlsocket"], include_deployment_checks=deploy))


def only(**entries: Any) -> tuple[str, str]:
    """The id of the one message, and all that it says."""
    (message,) = found(**entries)
    assert isinstance(message, CheckMessage)
    return str(message.id), f"{message.msg} {message.hint or ''}"


def test_what_is_fine_is_passed_over() -> None:
    """Everything that an entry may hold, and for deployment too."""
    whole = {
        "URL": "wss://api.example.com/ws",
        "TOKEN": "contrib.project.shop.tokens.read",
        "TIMEOUTS": {"CONNECT": 5, "CALL": 7.5},
        "OPTIONS": {"workers": 2, "reconnect": Backoff(initial=1), "headers": {"X-Shop": "1"}, "name": "shop"},
        "AUTOSTART": True,
    }
    login = {**FINE, "AUTH": {"URL": "https://auth.example.com", "KEY": "contrib.project.shop.tokens.read"}}
    local = {"URL": "ws://127.0.0.1:8080/", "TOKEN": lambda: "t", "CALL_TIMEOUT": 3}
    assert found(default=whole, login=login, local=local, deploy=True) == []
    assert found(default={"URL": lambda: "wss://a"}) == []


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({}, "OWLSOCKET has no 'default'. Say where to connect to"),
        ({"other": FINE}, "OWLSOCKET has no 'default'"),
        ({"default": {}}, "['URL'] is missing. It looks like \"wss://"),
        ({"default": {"URL": "https://a"}}, "url must start with ws:// or wss://, not with https:"),
        ({"default": {"URL": "wss://me:secret@a"}}, "url must not hold a user name or password"),
        ({"default": {"URL": 7}}, "['URL'] must be text or a callable, not int"),
        (
            {"default": FINE, "stock": {"URL": "wss://"}},
            "['stock']['URL'] cannot be used: url must name a host",
        ),
    ],
)
def test_e001_a_place_that_cannot_be_reached(entries: dict[str, Any], says: str) -> None:
    """There must be a default, and each entry leads somewhere."""
    id, text = only(**entries)
    assert id == "owlsocket.E001"
    assert says in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"TOKN": "x"}, "has 'TOKN', which means nothing. Did you mean 'TOKEN'?"),
        ({"timeouts": {}}, "Did you mean 'TIMEOUTS'?"),
        ({"COLOUR": 1}, "It may hold URL, TOKEN, AUTH,"),
        ({"OPTIONS": {"worker": 3}}, "Did you mean 'workers'?"),
        ({"OPTIONS": {"workers": 0}}, "workers must be a whole number, 1 or more, not 0"),
        ({"OPTIONS": {"reconnect": 3}}, "reconnect must be a Backoff or None, not 3"),
        ({"OPTIONS": {"proxy": "ftp://a"}}, "proxy"),
        ({"OPTIONS": {"token": "x"}}, "has 'token'. Say 'TOKEN' beside 'OPTIONS' instead."),
        ({"OPTIONS": {"wait": False}}, "Leave it out: a client connects when it is first used."),
        ({"OPTIONS": 5}, "['OPTIONS'] must be a dict of options of connect()"),
        ({"TIMEOUTS": {"CAL": 3}}, "Did you mean 'CALL'?"),
        ({"TIMEOUTS": {"CALL": -3}}, "must be a number of seconds, 0 or more"),
        ({"TIMEOUTS": 3}, "must be a dict with CONNECT, CALL or both"),
        ({"CALL_TIMEOUT": "3"}, "CALL_TIMEOUT must be a number of seconds"),
        (
            {"CALL_TIMEOUT": 3, "TIMEOUTS": {"CALL": 3}},
            "more than once: TIMEOUTS['CALL'], CALL_TIMEOUT",
        ),
        ({"CALL_TIMEOUT": 3, "OPTIONS": {"call_timeout": 3}}, "says call_timeout more than once"),
        ({"AUTOSTART": "yes"}, "['AUTOSTART'] must be True or False"),
        ({"TOKEN": "contrib.project.shop.tokens.red"}, 'does not define a "red" attribute/class'),
        ({"TOKEN": "contrib.project.shop.tokens.LETTERS"}, "must be a callable, or the dotted path of one, not str"),
        ({"TOKEN": 5}, "must be a callable, or the dotted path of one, not int"),
        ({"AUTH": "contrib.project.shop.tokens.log_in"}, "['AUTH'] leads nowhere"),
        ({"AUTH": {"KEY": "contrib.project.shop.tokens.read"}}, "['AUTH']['URL'] is missing"),
        ({"AUTH": {"URL": "https://a"}}, "['AUTH']['KEY'] is missing"),
        ({"AUTH": {"URL": "a", "KEY": "contrib.project.shop.tokens.read"}}, "must be http:// or https:// with a host"),
        (
            {"TOKEN": lambda: "t", "AUTH": {"URL": "https://a", "KEY": "contrib.project.shop.tokens.read"}},
            "has a TOKEN and an AUTH that logs in",
        ),
    ],
)
def test_e002_an_option_that_cannot_be_used(more: dict[str, Any], says: str) -> None:
    """It is named, and where it can be guessed what was meant, that too."""
    id, text = only(default={**FINE, **more})
    assert id == "owlsocket.E002"
    assert says in text


def test_all_that_is_wrong_is_told_at_once() -> None:
    """Not one after the other."""
    messages = found(default={"TOKN": 1, "OPTIONS": {"worker": 3}}, stock=5)
    assert sorted(str(one.id) for one in messages) == ["owlsocket.E001", *["owlsocket.E002"] * 3]


@pytest.mark.parametrize(("url", "expected"), [("ws://api.example.com/", 1), ("ws://localhost/", 0), ("wss://a/", 0)])
def test_w001_what_travels_in_the_clear(url: str, expected: int) -> None:
    """Is told for deployment, and only then."""
    assert [one.id for one in found(default={"URL": url}, deploy=True)] == ["owlsocket.W001"] * expected
    assert found(default={"URL": url}) == []


def test_w002_a_server_that_is_not_verified() -> None:
    """With either half of the verification off."""
    context = ssl.create_default_context()
    assert found(default={**FINE, "OPTIONS": {"ssl_context": context}}) == []
    context.check_hostname = False
    assert only(default={**FINE, "OPTIONS": {"ssl_context": context}})[0] == "owlsocket.W002"
    context.verify_mode = ssl.CERT_NONE
    assert only(default={**FINE, "OPTIONS": {"ssl_context": context}})[0] == "owlsocket.W002"


@pytest.mark.parametrize("secret", ["c2VjcmV0", JWT, "ED25519-BASIC-TOKEN c2VjcmV0", "no_such_package.tokens.read"])
def test_w003_a_secret_that_stands_in_the_settings(secret: str) -> None:
    """A token or a key; what it is, is not shown."""
    for more in ({"TOKEN": secret}, {"AUTH": {"URL": "https://a.example.com", "KEY": secret}}):
        id, text = only(default={**FINE, **more})
        assert id == "owlsocket.W003"
        assert secret not in text
        assert "Name a callable by its dotted path" in text


def test_w004_gevent_that_patched_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is imported at all."""
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
