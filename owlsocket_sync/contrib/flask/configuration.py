"""What ``app.config`` says about one service: read when it is first used, with everything that is wrong with it named.

Threads: nothing here is changed once it was made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from flask import Flask
from werkzeug.utils import import_string

from ...context import AuthService
from ...errors import ConfigError
from ...options import Backoff, Heartbeat, Limits

DEFAULT_PREFIX = "OWLSOCKET_"
DEFAULT = "default"
SERVICES = "services"
OPTIONS = frozenset(
    "url token query headers auth login timeout call_timeout heartbeat reconnect limits workers ssl_context proxy "
    "token_in sender name".split()
)
"""What a service is configured by, in small letters: the options of `owlsocket_sync.connect`, and ``login``."""

VALUES: dict[str, Callable[..., Any]] = {"heartbeat": Heartbeat, "reconnect": Backoff, "limits": Limits}
IMPORTED = ("url", "token", "auth", "ssl_context")
IDENTITY = ("token", "auth", "login")

_IMPORT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")


def read(app: Flask, prefix: str) -> dict[str, dict[str, Any]]:
    """The configuration of each service of an app, by its name, as it is now.

    Args:
        app: whose configuration it is.
        prefix: of the keys that count.

    Raises:
        ConfigError: there is a key that means nothing; the message names the nearest one that does.
    """
    top = app.config.get_namespace(prefix)
    named = top.pop(SERVICES, None) or {}
    if not isinstance(named, Mapping):
        raise ConfigError(f"{prefix}SERVICES must be a dict of services by name, not {type(named).__name__}")
    _check_names(top, prefix, f"{prefix}%s", {*OPTIONS, SERVICES})
    found: dict[str, dict[str, Any]] = {DEFAULT: top} if top else {}
    for alias, given in named.items():
        place = f"{prefix}SERVICES[{alias!r}]"
        if not isinstance(given, Mapping):
            raise ConfigError(f"{place} must be a dict, not {type(given).__name__}")
        if alias in found:
            raise ConfigError(f"{place} says again what {prefix}URL and its like say: leave one of them out")
        lowered = {str(key).lower(): value for key, value in given.items()}
        _check_names(lowered, place, f"{place}['%s']", OPTIONS)
        found[str(alias)] = lowered
    return found


def _check_names(given: Iterable[str], place: str, key: str, known: Iterable[str]) -> None:
    spelling = {one.upper() for one in known}
    for name in map(str.upper, given):
        if name not in spelling:
            near = get_close_matches(name, spelling, 1, 0.5)
            hint = f"did you mean {key % near[0]}?" if near else f"there are {', '.join(sorted(spelling))}"
            raise ConfigError(f"{key % name} is no option: {hint}")


class Settings:
    """What one service of an app is configured by.

    Args:
        app: its name.
        prefix: of the keys in its configuration.
        alias: the name of the service.
        given: its options, in small letters.
    """

    def __init__(self, app: str, prefix: str, alias: str, given: Mapping[str, Any]) -> None:
        self._app = app
        self._name = app if alias == DEFAULT else alias
        self._key = f"{prefix}%s" if alias == DEFAULT else f"{prefix}SERVICES[{alias!r}]['%s']"
        self._given = given

    def place(self, option: str) -> str:
        """The key in ``app.config`` that says this."""
        return self._key % option.upper()

    def options(self, leave_out: Iterable[str] = ()) -> dict[str, Any]:
        """The arguments of `owlsocket_sync.connect`, its URL included.

        Args:
            leave_out: options that are not asked for.

        Raises:
            ConfigError: a value cannot be used; the message names its key, and shows no secret.
        """
        given = {name: value for name, value in self._given.items() if name not in leave_out}
        if not given.get("url") and "url" not in leave_out:
            where = f'app.config["{self.place("url")}"] = "wss://…"' if "[" not in self._key else self.place("url")
            raise ConfigError(f"{self._app!r} does not say where to connect to: {where}")
        said = [self.place(name) for name in IDENTITY if given.get(name) is not None]
        if len(said) > 1 and "login" in given:
            raise ConfigError(f"{' and '.join(said)} exclude each other: a login gives the tokens")
        options = dict(self._read(given))
        options.setdefault("name", self._name)
        return options

    def _read(self, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in given.items():
            if name == "login":
                if value is not None:
                    yield from self._login(value).items()
            elif name in VALUES:
                yield name, self._value(name, value)
            elif name in IMPORTED:
                yield name, self._imported(name, value)
            elif value is not None:
                yield name, value

    def _value(self, name: str, value: Any) -> Any:
        """A frozen value, made of a dict where it is one; ``None`` and ``False`` turn it off."""
        make = VALUES[name]
        if isinstance(value, Mapping):
            fields = {str(key).lower(): one for key, one in value.items()}
            try:
                return make(**fields)
            except (TypeError, ValueError) as error:
                raise ConfigError(f"{self.place(name)} cannot be used: {error}") from error
        if value is None or value is False:
            if name != "limits":
                return None
            return make()
        return value  # what it must be is said where it is used

    def _imported(self, name: str, value: Any) -> Any:
        """What ``"module:name"`` leads to; anything else is itself."""
        if not (isinstance(value, str) and _IMPORT.match(value)):
            return value
        try:
            found = import_string(value)
        except ImportError as error:
            raise ConfigError(f"{self.place(name)} leads nowhere: {_last_line(error)}") from error
        if name == "token" and not callable(found):
            raise ConfigError(f"{self.place(name)} must lead to a callable that gives a token")
        if name == "ssl_context" and callable(found):
            return found()
        return found

    def _login(self, given: Any) -> dict[str, Any]:
        """The credentials of a login with a key."""
        if not isinstance(given, Mapping):
            return {"auth": self._imported("login", given)}
        fields = {str(key).lower(): value for key, value in given.items()}
        base_url, key = fields.pop("base_url", None), self._imported("login", fields.pop("key", None))
        if base_url is None or key is None:
            raise ConfigError(f"{self.place('login')} must hold BASE_URL and KEY")
        try:
            return AuthService(base_url, key() if callable(key) else key, **fields).credentials()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.place('login')} cannot be used: {error}") from error


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
