"""What ``app.config`` says to the extension: every option of ``connect``, and what is wrong named by its key."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from flask import Flask

from owlsocket_sync import Backoff, Heartbeat, Limits
from owlsocket_sync.auth import KeyPair, Login
from owlsocket_sync.contrib.flask import OwlSocket
from owlsocket_sync.contrib.flask.configuration import OPTIONS, Settings, read
from owlsocket_sync.errors import ConfigError
from owlsocket_sync.server import serve

URL = "wss://api.example.com/ws"


def give_token() -> str:
    """A token, for those that import it."""
    return "fresh"


def give_context() -> ssl.SSLContext:
    """Trust in nobody."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


CONTEXT = give_context()
KEY = KeyPair.generate()


def options_of(app: Flask) -> dict[str, Any]:
    """The arguments of ``connect`` that the configuration of an app makes."""
    return Settings("shop", "OWLSOCKET_", "default", read(app, "OWLSOCKET_")["default"]).options()


def options(**config: Any) -> dict[str, Any]:
    """The arguments of ``connect`` that a configuration makes."""
    app = Flask("shop")
    app.config.update({f"OWLSOCKET_{name}": value for name, value in {"URL": URL, **config}.items()})
    return options_of(app)


def test_every_option_of_connect_can_be_configured() -> None:
    """But for ``wait`` and ``replace``, which an extension decides."""
    from inspect import signature

    from owlsocket_sync import connect

    assert set(signature(connect).parameters) - {"wait", "replace"} == OPTIONS - {"login"}


def test_values_are_passed_on_as_they_are() -> None:
    """With the name of the service for a name."""
    given = {"CALL_TIMEOUT": 5, "TIMEOUT": 2, "WORKERS": 8, "HEADERS": {"X-Shop": "1"}, "SENDER": "shop"}
    expected = {name.lower(): value for name, value in given.items()}
    assert options(**given) == {"url": URL, "name": "shop", **expected}
    assert options(NAME="api")["name"] == "api"


def test_frozen_values_can_be_written_as_dicts() -> None:
    """As a file or the environment has them; ``None`` and ``False`` turn off what can be turned off."""
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


def test_the_environment_may_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Flask's own ``from_prefixed_env``, dicts included."""
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


def test_a_token_is_text_or_a_callable_or_its_place() -> None:
    """Text of the form ``module:name`` is imported; a token never looks like that."""
    assert options(TOKEN="eyJ0eXAi.b-c_d")["token"] == "eyJ0eXAi.b-c_d"
    assert options(TOKEN=give_token)["token"] is give_token
    place = "owlsocket_sync.contrib.flask.configuration:read"
    assert options(TOKEN=place)["token"] is read
    with pytest.raises(ConfigError, match=r"OWLSOCKET_TOKEN leads nowhere: .*nothing"):
        options(TOKEN="owlsocket_sync:nothing")


def test_a_context_for_tls_is_one_or_makes_one() -> None:
    """The same for ``ssl_context``."""
    assert options(SSL_CONTEXT=CONTEXT)["ssl_context"] is CONTEXT
    made = options(SSL_CONTEXT="ssl:create_default_context")["ssl_context"]
    assert isinstance(made, ssl.SSLContext)


def test_a_login_is_made_of_its_url_and_key() -> None:
    """Its key may be text, a `KeyPair`, or the place of one; nothing shows it."""
    made = options(LOGIN={"BASE_URL": "https://auth.example.com", "KEY": KEY.private})
    assert isinstance(made["auth"], Login)
    assert isinstance(options(LOGIN={"base_url": "https://auth.example.com", "key": lambda: KEY})["auth"], Login)
    login = Login("https://auth.example.com", KEY)
    assert options(LOGIN=login)["auth"] is login
    with pytest.raises(ConfigError, match="OWLSOCKET_LOGIN must hold BASE_URL and KEY"):
        options(LOGIN={"KEY": KEY.private})
    with pytest.raises(ConfigError, match="OWLSOCKET_LOGIN cannot be used") as caught:
        options(LOGIN={"BASE_URL": "https://auth.example.com", "KEY": "my secret"})
    assert "my secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="OWLSOCKET_TOKEN and OWLSOCKET_LOGIN exclude each other"):
        options(TOKEN="x", LOGIN={"BASE_URL": "https://auth.example.com", "KEY": KEY.private})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"OWLSOCKET_TOEKN": "x"}, r"OWLSOCKET_TOEKN is no option: did you mean OWLSOCKET_TOKEN\?"),
        ({"OWLSOCKET_SERVICE": {}}, r"OWLSOCKET_SERVICE is no option: did you mean OWLSOCKET_SERVICES\?"),
        ({"OWLSOCKET_WAIT": True}, r"OWLSOCKET_WAIT is no option"),
        ({"OWLSOCKET_QQQQ": 1}, r"OWLSOCKET_QQQQ is no option: there are AUTH, CALL_TIMEOUT, "),
        ({"OWLSOCKET_SERVICES": {"a": {"URI": URL}}}, r"OWLSOCKET_SERVICES\['a'\]\['URI'\].*\['a'\]\['URL'\]\?"),
        ({"OWLSOCKET_SERVICES": {"a": URL}}, r"OWLSOCKET_SERVICES\['a'\] must be a dict, not str"),
        ({"OWLSOCKET_SERVICES": [URL]}, r"OWLSOCKET_SERVICES must be a dict of services by name, not list"),
        ({"OWLSOCKET_URL": URL, "OWLSOCKET_SERVICES": {"default": {"URL": URL}}}, r"\['default'\] says again"),
    ],
)
def test_a_key_that_means_nothing_is_told_at_once(config: dict[str, Any], told: str) -> None:
    """By `init_app`, with the nearest one that does."""
    app = Flask("shop")
    app.config.update(config)
    with pytest.raises(ConfigError, match=told):
        OwlSocket(app)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, r'does not say where to connect to: app.config\["OWLSOCKET_URL"\] = '),
        ({"TIMEOUT": 1}, "does not say where to connect to"),
        ({"URL": URL, "LIMITS": {"size": 1}}, "OWLSOCKET_LIMITS cannot be used: .*'size'"),
        ({"URL": URL, "HEARTBEAT": {"interval": -1}}, "OWLSOCKET_HEARTBEAT cannot be used: Heartbeat.interval"),
        ({"URL": URL, "TIMEOUT": "soon"}, "configuration of the service 'default' cannot be used: timeout"),
        ({"URL": URL, "WORKERS": 0}, "configuration of the service 'default' cannot be used: workers"),
        ({"URL": "https://api.example.com"}, "configuration of the service 'default' cannot be used: url must start"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_by_the_first_call(config: dict[str, Any], told: str) -> None:
    """So that tests may still change it after `init_app`."""
    app = Flask("shop")
    app.config.update({f"OWLSOCKET_{name}": value for name, value in config.items()})
    owl = OwlSocket(app)
    with app.app_context(), pytest.raises(ConfigError, match=told):
        owl.call("x")


def test_what_is_configured_later_counts_until_the_first_call() -> None:
    """A factory makes the app, and a test says where the server is."""
    app = Flask("shop")
    owl = OwlSocket(app)
    with serve(lambda conn, request: conn.perform("who", lambda: request.headers["X-Who"])) as server:
        app.config.update(OWLSOCKET_URL=server.url, OWLSOCKET_HEADERS={"X-Who": "Ada"})
        with app.app_context():
            assert owl.call("who") == "Ada"
            owl.close()
