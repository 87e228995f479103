"""The configuration in ``app.config``: every option of ``connect``, and errors that name the key."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from flask import Flask

from owlsocket_sync import Backoff, Deflate, Heartbeat, Limits
from owlsocket_sync.auth import KeyPair, Login
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.contrib.flask.configuration import OPTIONS, ServiceSettings, read_config
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import serve

URL = "wss://api.example.com/ws"


def give_token() -> str:
    """Return a token; imported by its path."""
    return "fresh"


def give_context() -> ssl.SSLContext:
    """Return a context without any authority."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


CONTEXT = give_context()
KEY = KeyPair.generate()


def options_of(app: Flask) -> dict[str, Any]:
    """Return the arguments of ``connect`` for the configuration of an app."""
    return ServiceSettings("shop", "OWLSOCKET_", "default", read_config(app, "OWLSOCKET_")["default"]).connect_options()


def options(**config: Any) -> dict[str, Any]:
    """Return the arguments of ``connect`` for a configuration."""
    app = Flask("shop")
    app.config.update({f"OWLSOCKET_{name}": value for name, value in {"URL": URL, **config}.items()})
    return options_of(app)


def test_every_option_of_connect_can_be_configured() -> None:
    """Except ``wait`` and ``replace``, which the extension sets."""
    from inspect import signature

    from owlsocket_sync import connect

    # "unknown" takes what `connect` refuses.
    assert set(signature(connect).parameters) - {"wait", "replace", "unknown"} == OPTIONS - {"login"}


def test_values_are_passed_unchanged() -> None:
    """The name of the service is the default name of the connection."""
    values = {"CALL_TIMEOUT": 5, "TIMEOUT": 2, "WORKERS": 8, "HEADERS": {"X-Shop": "1"}, "SENDER": "shop"}
    expected = {name.lower(): value for name, value in values.items()}
    assert options(**values) == {"url": URL, "name": "shop", **expected}
    assert options(NAME="api")["name"] == "api"


def test_dicts_become_frozen_values() -> None:
    """Files and the environment contain dicts; ``None`` and ``False`` turn a feature off."""
    assert options(LIMITS={"message_size": 1000})["limits"] == Limits(message_size=1000)
    assert options(HEARTBEAT={"INTERVAL": 5})["heartbeat"] == Heartbeat(interval=5)
    assert options(RECONNECT=Backoff(cap=3))["reconnect"] == Backoff(cap=3)
    assert options(RECONNECT=False, HEARTBEAT=None) == {
        "url": URL,
        "name": "shop",
        "reconnect": None,
        "heartbeat": None,
    }
    assert options(LIMITS=None)["limits"] == Limits()
    assert options(COMPRESSION={"LEVEL": 6})["compression"] == Deflate(level=6)
    assert options(COMPRESSION="deflate")["compression"] == "deflate"
    assert options(COMPRESSION=False)["compression"] is None


def test_the_environment_sets_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flask's ``from_prefixed_env`` also sets the keys of dicts."""
    monkeypatch.setenv("FLASK_OWLSOCKET_URL", URL)
    monkeypatch.setenv("FLASK_OWLSOCKET_TIMEOUT", "2.5")
    monkeypatch.setenv("FLASK_OWLSOCKET_LIMITS__pending_calls", "9")
    app = Flask("shop")
    app.config.from_prefixed_env()
    assert options_of(app) == {
        "url": URL,
        "timeout": 2.5,
        "limits": Limits(pending_calls=9),
        "name": "shop",
    }


def test_a_token_is_text_a_callable_or_an_import_path() -> None:
    """Text of the form ``module:name`` is imported; no token has this form."""
    assert options(TOKEN="eyJ0eXAi.b-c_d")["token"] == "eyJ0eXAi.b-c_d"
    assert options(TOKEN=give_token)["token"] is give_token
    place = "owlsocket_sync.contrib.flask.configuration:read_config"
    assert options(TOKEN=place)["token"] is read_config
    with pytest.raises(ConfigError, match=r"OWLSOCKET_TOKEN cannot be imported: .*nothing"):
        options(TOKEN="owlsocket_sync:nothing")


def test_a_tls_context_is_an_object_or_an_import_path() -> None:
    """``ssl_context`` is a context, or the import path of a function that creates one."""
    assert options(SSL_CONTEXT=CONTEXT)["ssl_context"] is CONTEXT
    made = options(SSL_CONTEXT="ssl:create_default_context")["ssl_context"]
    assert isinstance(made, ssl.SSLContext)


def test_a_login_is_made_from_url_and_key() -> None:
    """The key is text, a `KeyPair`, or an import path; no error shows it."""
    made = options(LOGIN={"BASE_URL": "https://auth.example.com", "KEY": KEY.private})
    assert isinstance(made["auth"], Login)
    assert isinstance(options(LOGIN={"base_url": "https://auth.example.com", "key": lambda: KEY})["auth"], Login)
    login = Login("https://auth.example.com", KEY)
    assert options(LOGIN=login)["auth"] is login
    with pytest.raises(ConfigError, match="OWLSOCKET_LOGIN must contain BASE_URL and KEY"):
        options(LOGIN={"KEY": KEY.private})
    with pytest.raises(ConfigError, match="OWLSOCKET_LOGIN is invalid") as caught:
        options(LOGIN={"BASE_URL": "https://auth.example.com", "KEY": "my secret"})
    assert "my secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="OWLSOCKET_TOKEN and OWLSOCKET_LOGIN exclude each other"):
        options(TOKEN="x", LOGIN={"BASE_URL": "https://auth.example.com", "KEY": KEY.private})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"OWLSOCKET_TOEKN": "x"}, r"unknown option OWLSOCKET_TOEKN: did you mean OWLSOCKET_TOKEN\?"),
        ({"OWLSOCKET_SERVICE": {}}, r"unknown option OWLSOCKET_SERVICE: did you mean OWLSOCKET_SERVICES\?"),
        ({"OWLSOCKET_WAIT": True}, r"unknown option OWLSOCKET_WAIT"),
        ({"OWLSOCKET_QQQQ": 1}, r"unknown option OWLSOCKET_QQQQ: known: AUTH, CALL_TIMEOUT, "),
        ({"OWLSOCKET_SERVICES": {"a": {"URI": URL}}}, r"OWLSOCKET_SERVICES\['a'\]\['URI'\].*\['a'\]\['URL'\]\?"),
        ({"OWLSOCKET_SERVICES": {"a": URL}}, r"OWLSOCKET_SERVICES\['a'\] must be a dict, not str"),
        ({"OWLSOCKET_SERVICES": [URL]}, r"OWLSOCKET_SERVICES must be a dict of services by name, not list"),
        (
            {"OWLSOCKET_URL": URL, "OWLSOCKET_SERVICES": {"default": {"URL": URL}}},
            r"\['default'\] and OWLSOCKET_URL both configure",
        ),
    ],
)
def test_an_unknown_key_raises_at_once(config: dict[str, Any], message: str) -> None:
    """`init_app` raises and suggests the nearest key."""
    app = Flask("shop")
    app.config.update(config)
    with pytest.raises(ConfigError, match=message):
        OwlSocket(app)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r'has no URL to connect to: set app.config\["OWLSOCKET_URL"\] = '),
        ({"TIMEOUT": 1}, "has no URL to connect to"),
        ({"URL": URL, "LIMITS": {"size": 1}}, "OWLSOCKET_LIMITS is invalid: .*'size'"),
        ({"URL": URL, "HEARTBEAT": {"interval": -1}}, "OWLSOCKET_HEARTBEAT is invalid: Heartbeat.interval"),
        ({"URL": URL, "COMPRESSION": {"level": 99}}, "OWLSOCKET_COMPRESSION is invalid: Deflate.level"),
        ({"URL": URL, "TIMEOUT": "soon"}, "invalid configuration of service 'default': timeout"),
        ({"URL": URL, "WORKERS": 0}, "invalid configuration of service 'default': workers"),
        ({"URL": "https://api.example.com"}, "invalid configuration of service 'default': url must start"),
    ],
)
def test_an_invalid_value_raises_at_the_first_call(config: dict[str, Any], message: str) -> None:
    """Tests may still change the value after `init_app`."""
    app = Flask("shop")
    app.config.update({f"OWLSOCKET_{name}": value for name, value in config.items()})
    owl = OwlSocket(app)
    with app.app_context(), pytest.raises(ConfigError, match=message):
        owl.call("x")


def test_the_configuration_may_change_until_the_first_call() -> None:
    """A factory creates the app, and a test sets the URL afterwards."""
    app = Flask("shop")
    owl = OwlSocket(app)
    with serve(lambda conn, request: conn.perform("who", lambda: request.headers["X-Who"])) as server:
        app.config.update(OWLSOCKET_URL=server.url, OWLSOCKET_HEADERS={"X-Who": "Ada"})
        with app.app_context():
            assert owl.call("who") == "Ada"
            owl.close()
