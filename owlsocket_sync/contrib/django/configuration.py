"""What one entry of ``OWLSOCKET`` says: read once, with everything that is wrong with it.

::

    {
        "URL": "wss://api.example.com/ws",  # or a callable
        "TOKEN": "shop.tokens.read",        # the dotted path of a callable, or a callable
        "AUTH": {"URL": "https://auth.example.com", "KEY": "shop.keys.read", "OPTIONS": {}},
        "TIMEOUTS": {"CONNECT": 10, "CALL": 30},  # seconds; CALL_TIMEOUT is another word for the second
        "OPTIONS": {"workers": 8},          # what else `owlsocket_sync.connect` takes
        "AUTOSTART": False,
    }

``AUTH`` may also be what ``connect(auth=…)`` takes, or its dotted path.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ...client import check_options, connect
from ...connection import Connection
from ...context import AuthService
from ...deadline import check_timeout
from ...errors import InsecureTransportWarning
from ...urls import parse, parse_base
from .database import with_fresh_connections, with_own_connections
from .references import resolve, resolve_secret

KEYS = ("URL", "TOKEN", "AUTH", "TIMEOUTS", "CALL_TIMEOUT", "OPTIONS", "AUTOSTART")
AUTH_KEYS = ("URL", "KEY", "OPTIONS")
TIMEOUTS = {"CONNECT": "timeout", "CALL": "call_timeout"}
ELSEWHERE = {"url": "URL", "token": "TOKEN", "auth": "AUTH"}
LEFT_OUT = {*ELSEWHERE, "wait", "replace"}
OPTIONS = tuple(name for name in signature(connect).parameters if name not in LEFT_OUT)

BAD_PLACE = "E001"
BAD_OPTION = "E002"


@dataclass(frozen=True)
class Problem:
    """Something in the settings that cannot be used.

    Attributes:
        id: of the system check that tells of it.
        text: what is wrong, and where.
        hint: what to do, or empty.
    """

    id: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.text}. {self.hint}" if self.hint else self.text


@dataclass(frozen=True)
class Configuration:
    """One entry of ``OWLSOCKET``, which can be used.

    Attributes:
        alias: its name.
        url: where to connect to.
        token: as it is in the settings.
        auth: as it is in the settings.
        options: what else `owlsocket_sync.connect` gets.
        autostart: whether programs that run long connect at their beginning.
    """

    alias: str
    url: str | Callable[[], str]
    token: Any = field(default=None, repr=False)
    auth: Any = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    autostart: bool = False

    @classmethod
    def read(cls, alias: str, given: Any) -> Configuration:
        """What an entry says.

        Raises:
            ImproperlyConfigured: something in it cannot be used; the message names it.
        """
        for problem in problems(alias, given):
            raise ImproperlyConfigured(str(problem))
        url = given["URL"]
        return cls(
            alias,
            with_own_connections(url) if callable(url) else url,
            given.get("TOKEN"),
            given.get("AUTH"),
            _all_options(given),
            given.get("AUTOSTART", False),
        )

    def credentials(self) -> dict[str, Any]:
        """The arguments of `owlsocket_sync.connect` that say who we are.

        Raises:
            ImproperlyConfigured: a path leads nowhere, or to what cannot be used.
        """
        found: dict[str, Any] = {}
        if self.token is not None:
            token = resolve_secret(self.token, _place(self.alias, "TOKEN"))
            found["token"] = with_own_connections(token) if callable(token) else token
        if isinstance(self.auth, Mapping):
            found.update(self._login())
        elif self.auth is not None:
            auth = resolve(self.auth, _place(self.alias, "AUTH"))
            found["auth"] = with_fresh_connections(auth) if callable(auth) else auth
        return found

    def _login(self) -> dict[str, Any]:
        place = _place(self.alias, "AUTH")
        key = resolve_secret(self.auth["KEY"], f"{place}['KEY']")
        try:
            service = AuthService(
                self.auth["URL"], key() if callable(key) else key, **dict(self.auth.get("OPTIONS") or {})
            )
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"{place} cannot be used: {error}") from error
        return service.credentials()

    def connect(self, **changes: Any) -> Connection:
        """A connection of its own, without the project's handlers; raises what `owlsocket_sync.connect` raises."""
        return connect(self.url, **{"name": self.alias, **self.options, **self.credentials(), **changes})


def problems(alias: str, given: Any) -> Iterator[Problem]:
    """Everything that is wrong with an entry; connects nothing, and shows no secret."""
    if not isinstance(given, Mapping):
        yield Problem(BAD_OPTION, f"OWLSOCKET[{alias!r}] must be a dict, not {type(given).__name__}")
        return
    yield from _unknown(_place(alias), given, KEYS)
    yield from _bad_url(alias, given.get("URL"))
    yield from _bad_credentials(alias, given)
    if not isinstance(given.get("AUTOSTART", False), bool):
        yield Problem(BAD_OPTION, f"{_place(alias, 'AUTOSTART')} must be True or False")
    bad = [*_bad_timeouts(alias, given), *_bad_names(alias, given)]
    yield from bad or _bad_values(alias, given)


def _place(alias: str, key: str | None = None) -> str:
    return f"OWLSOCKET[{alias!r}]" + (f"[{key!r}]" if key else "")


def _unknown(place: str, given: Iterable[str], known: Iterable[str]) -> Iterator[Problem]:
    """Names that mean nothing, each with the nearest one that does."""
    for name in given:
        if name not in known:
            spelling = {one.lower(): one for one in known}
            near = get_close_matches(str(name).lower(), spelling, 1, 0.5)
            hint = f"Did you mean {spelling[near[0]]!r}?" if near else f"It may hold {', '.join(known)}."
            yield Problem(BAD_OPTION, f"{place} has {name!r}, which means nothing", hint)


def _bad_url(alias: str, url: Any) -> Iterator[Problem]:
    hint = 'It looks like "wss://api.example.com/ws".'
    if url is None:
        yield Problem(BAD_PLACE, f"{_place(alias, 'URL')} is missing", hint)
    elif isinstance(url, str):
        try:
            parse(url)
        except ValueError as error:
            yield Problem(BAD_PLACE, f"{_place(alias, 'URL')} cannot be used: {error}", hint)
    elif not callable(url):
        yield Problem(BAD_PLACE, f"{_place(alias, 'URL')} must be text or a callable, not {type(url).__name__}", hint)


def _bad_credentials(alias: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    token, auth = given.get("TOKEN"), given.get("AUTH")
    if token is not None:
        yield from _unresolved(resolve_secret, token, _place(alias, "TOKEN"))
    if isinstance(auth, Mapping):
        if token is not None:
            text = f"{_place(alias)} has a TOKEN and an AUTH that logs in"
            yield Problem(BAD_OPTION, text, "Leave the TOKEN out: the login gives the tokens.")
        yield from _bad_login(_place(alias, "AUTH"), auth)
    elif auth is not None:
        yield from _unresolved(resolve, auth, _place(alias, "AUTH"))


def _bad_login(place: str, auth: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _unknown(place, auth, AUTH_KEYS)
    for key in ("URL", "KEY"):
        if auth.get(key) is None:
            yield Problem(BAD_OPTION, f"{place}[{key!r}] is missing")
    if auth.get("URL") is not None:
        try:
            parse_base(auth["URL"], f"{place}['URL']")
        except ValueError as error:
            yield Problem(BAD_OPTION, str(error))
    if auth.get("KEY") is not None:
        yield from _unresolved(resolve_secret, auth["KEY"], f"{place}['KEY']")
    if not isinstance(auth.get("OPTIONS") or {}, Mapping):
        yield Problem(BAD_OPTION, f"{place}['OPTIONS'] must be a dict")


def _unresolved(find: Callable[[Any, str], Any], value: Any, place: str) -> Iterator[Problem]:
    try:
        find(value, place)
    except ImproperlyConfigured as error:
        yield Problem(BAD_OPTION, str(error))


def _bad_timeouts(alias: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    timeouts = given.get("TIMEOUTS") or {}
    if not isinstance(timeouts, Mapping):
        yield Problem(BAD_OPTION, f"{_place(alias, 'TIMEOUTS')} must be a dict with CONNECT, CALL or both, in seconds")
        return
    yield from _unknown(_place(alias, "TIMEOUTS"), timeouts, TIMEOUTS)
    values = {f"TIMEOUTS[{key!r}]": timeouts[key] for key in TIMEOUTS if key in timeouts}
    if "CALL_TIMEOUT" in given:
        values["CALL_TIMEOUT"] = given["CALL_TIMEOUT"]
    for name, value in values.items():
        try:
            check_timeout(value, f"{_place(alias)} {name}")
        except ValueError as error:
            yield Problem(BAD_OPTION, str(error))


def _bad_names(alias: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    place, options = _place(alias, "OPTIONS"), given.get("OPTIONS") or {}
    if not isinstance(options, Mapping):
        yield Problem(BAD_OPTION, f"{place} must be a dict of options of connect()")
        return
    for name in options:
        if name in ELSEWHERE:
            yield Problem(BAD_OPTION, f"{place} has {name!r}", f"Say {ELSEWHERE[name]!r} beside 'OPTIONS' instead.")
        elif name == "wait":
            yield Problem(BAD_OPTION, f"{place} has 'wait'", "Leave it out: a client connects when it is first used.")
    yield from _unknown(place, [name for name in options if name not in LEFT_OUT], OPTIONS)
    for option, ways in _said(given).items():
        if len(ways) > 1:
            yield Problem(BAD_OPTION, f"{_place(alias)} says {option} more than once: {', '.join(ways)}")


def _said(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The timeouts, by option, with the places that say them."""
    timeouts, options = given.get("TIMEOUTS") or {}, given.get("OPTIONS") or {}
    said: dict[str, dict[str, Any]] = {option: {} for option in TIMEOUTS.values()}
    if isinstance(timeouts, Mapping):
        for key, option in TIMEOUTS.items():
            if key in timeouts:
                said[option][f"TIMEOUTS[{key!r}]"] = timeouts[key]
    if "CALL_TIMEOUT" in given:
        said["call_timeout"]["CALL_TIMEOUT"] = given["CALL_TIMEOUT"]
    for option in said:
        if option in options:
            said[option][f"OPTIONS[{option!r}]"] = options[option]
    return said


def _all_options(given: Mapping[str, Any]) -> dict[str, Any]:
    timeouts = {option: value for option, ways in _said(given).items() for value in ways.values()}
    return {**(given.get("OPTIONS") or {}), **timeouts}


def _bad_values(alias: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Let `connect` look at the options, with an address that is fine."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureTransportWarning)
            check_options("ws://127.0.0.1/", **_all_options(given))
    except (TypeError, ValueError) as error:
        yield Problem(BAD_OPTION, f"{_place(alias, 'OPTIONS')} cannot be used: {error}")
