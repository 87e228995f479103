"""The configuration of the services of an app, read from ``app.config`` when a service is first used.

Threads: values are immutable after construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.utils import import_string

from ...client_options import ClientOptions
from ...context import AuthService
from ...errors import ConfigError, StoreError
from ...options import Backoff, Deflate, Heartbeat, Limits
from ...stores.urls import as_queue
from ..queue_pair import one_queue_error

if TYPE_CHECKING:
    from ...stores import Queue

DEFAULT_PREFIX = "OWLSOCKET_"
DEFAULT = "default"
SERVICES = "services"
HUB = "hub"
# Not configurable: a service connects when it is first used, and has one connection per process.
FIXED = frozenset({"wait", "replace"})
OPTIONS = frozenset({field.name for field in fields(ClientOptions)} - FIXED | {"login"})
"""Names of the options of a service, in lower case: the fields of `ClientOptions`, and ``login``."""

VALUE_TYPES: dict[str, Callable[..., Any]] = {
    "heartbeat": Heartbeat,
    "reconnect": Backoff,
    "limits": Limits,
    "compression": Deflate,
}
IMPORTABLE = ("url", "token", "auth", "ssl_context")
QUEUES = ("inbox", "outbox")
IDENTITY = ("token", "auth", "login")

# A colon, and only identifiers around it: URLs contain slashes, and tokens are base64 without a colon.
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")


def read_config(app: Flask, prefix: str) -> dict[str, dict[str, Any]]:
    """Return the raw options of each service of an app by the name of the service, in lower case.

    Args:
        app: app to configure.
        prefix: prefix of the keys to read.

    Raises:
        ConfigError: a key is unknown; the message suggests the nearest known key.
    """
    # Read at each use, not once: tests and factories change the configuration after init_app().
    top = app.config.get_namespace(prefix)
    named = top.pop(SERVICES, None) or {}
    top.pop(HUB, None)
    if not isinstance(named, Mapping):
        raise ConfigError(f"{prefix}SERVICES must be a dict of services by name, not {type(named).__name__}")
    _check_names(top, f"{prefix}%s", {*OPTIONS, SERVICES, HUB})
    services: dict[str, dict[str, Any]] = {DEFAULT: top} if top else {}
    for alias, entry in named.items():
        place = f"{prefix}SERVICES[{alias!r}]"
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{place} must be a dict, not {type(entry).__name__}")
        if alias in services:
            raise ConfigError(f"{place} and {prefix}URL both configure the default service: remove one of them")
        options = {str(key).lower(): value for key, value in entry.items()}
        _check_names(options, f"{place}['%s']", OPTIONS)
        services[str(alias)] = options
    return services


def _check_names(names: Iterable[str], key: str, known: Iterable[str]) -> None:
    """Raise `ConfigError` for the first unknown name; ``key`` is the format of a full key."""
    spellings = {name.upper() for name in known}
    for name in map(str.upper, names):
        if name not in spellings:
            nearest = get_close_matches(name, spellings, 1, 0.5)
            hint = f"did you mean {key % nearest[0]}?" if nearest else f"known: {', '.join(sorted(spellings))}"
            raise ConfigError(f"unknown option {key % name}: {hint}")


class ServiceSettings:
    """The configuration of one service of an app.

    Args:
        app: name of the app.
        prefix: prefix of the keys in the app's configuration.
        alias: name of the service.
        configured: raw options by their names in lower case.
    """

    def __init__(self, app: str, prefix: str, alias: str, configured: Mapping[str, Any]) -> None:
        self._app = app
        self._name = app if alias == DEFAULT else alias
        self._key = f"{prefix}%s" if alias == DEFAULT else f"{prefix}SERVICES[{alias!r}]['%s']"
        self._configured = configured

    def key(self, option: str) -> str:
        """Return the key of an option in ``app.config``, for error messages."""
        return self._key % option.upper()

    def connect_options(self, exclude: Iterable[str] = ()) -> dict[str, Any]:
        """Return arguments for `ClientOptions`, the URL included.

        Args:
            exclude: options to leave out.

        Raises:
            ConfigError: a value is not usable; the message names the key and shows no secret.
        """
        configured = {name: value for name, value in self._configured.items() if name not in exclude}
        if not configured.get("url") and "url" not in exclude:
            example = f'app.config["{self.key("url")}"] = "wss://…"' if "[" not in self._key else self.key("url")
            raise ConfigError(f"app {self._app!r} has no URL to connect to: set {example}")
        identities = [self.key(name) for name in IDENTITY if configured.get(name) is not None]
        if len(identities) > 1 and "login" in configured:
            raise ConfigError(f"{' and '.join(identities)} exclude each other: a login supplies the tokens")
        options = dict(self._convert(configured))
        # Here, and not where a connection opens, which knows the queues and not their settings.
        error = one_queue_error(options.get("inbox"), options.get("outbox"), self.key("inbox"), self.key("outbox"))
        if error is not None:
            raise ConfigError(f"{error}: use two queues")
        # Logs and metrics tell connections apart by the app or the service, as a process has several.
        options.setdefault("name", self._name)
        return options

    def _convert(self, configured: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in configured.items():
            if name == "login":
                if value is not None:
                    yield from self._login(value).items()
            elif name in VALUE_TYPES:
                yield name, self._value(name, value)
            elif name in IMPORTABLE:
                yield name, self._imported(name, value)
            elif name in QUEUES and value is not None:
                yield name, self._queue(name, value)
            elif value is not None:  # files and the environment write None for an option that is not set
                yield name, value

    def _value(self, name: str, value: Any) -> Any:
        """Build a value from a dict of its fields; ``None`` and ``False`` turn the feature off."""
        make = VALUE_TYPES[name]
        if isinstance(value, Mapping):
            arguments = {str(key).lower(): item for key, item in value.items()}
            try:
                return make(**arguments)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{self.key(name)} is invalid: {error}") from error
        if value is None or value is False:
            # Limits cannot be turned off: without a value the defaults hold.
            return make() if name == "limits" else None
        return value  # ClientOptions checks the type

    def _imported(self, name: str, value: Any) -> Any:
        """Import ``"module:name"``; return any other value unchanged."""
        imported = import_value(value, self.key(name))
        if imported is value:
            return value
        if name == "token" and not callable(imported):
            raise ConfigError(f"{self.key(name)} must be the import path of a callable that returns a token")
        if name == "ssl_context" and callable(imported):
            return imported()
        return imported

    def _queue(self, name: str, value: Any) -> Queue:
        """Return the queue of a URL, of a callable, or of an import path of either a callable or a queue."""
        try:
            return as_queue(self._imported(name, value))
        except (ValueError, StoreError) as error:
            raise ConfigError(f"{self.key(name)} is invalid: {error}") from error

    def _login(self, login: Any) -> dict[str, Any]:
        """Return the credentials of a login object, or of a dict with the arguments of `AuthService`."""
        if not isinstance(login, Mapping):
            return {"auth": self._imported("login", login)}
        arguments = {str(key).lower(): value for key, value in login.items()}
        base_url, key = arguments.pop("base_url", None), self._imported("login", arguments.pop("key", None))
        if base_url is None or key is None:
            raise ConfigError(f"{self.key('login')} must contain BASE_URL and KEY")
        try:
            return AuthService(base_url, key() if callable(key) else key, **arguments).credentials()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.key('login')} is invalid: {error}") from error


def import_value(value: Any, key: str) -> Any:
    """Import ``"module:name"``; return any other value unchanged; raises `ConfigError`, which names the key."""
    if not (isinstance(value, str) and _IMPORT_PATH.match(value)):
        return value
    try:
        return import_string(value)
    except ImportError as error:
        raise ConfigError(f"{key} cannot be imported: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    # import_string() adds a report of many lines above the import error itself.
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
