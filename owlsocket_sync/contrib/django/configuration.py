"""The entries of the setting ``OWLSOCKET``: each is read once, and all of its errors are collected.

::

    {
        "URL": "wss://api.example.com/ws",  # or a callable
        "TOKEN": "shop.tokens.read",        # dotted path of a callable, or a callable
        "AUTH": {"URL": "https://auth.example.com", "KEY": "shop.keys.read", "OPTIONS": {}},
        "TIMEOUTS": {"CONNECT": 10, "CALL": 30},  # seconds; CALL_TIMEOUT is an alias of CALL
        "OPTIONS": {"workers": 8},          # further options of `owlsocket_sync.connect`
        "OUTBOX": "sqlite:////var/lib/shop/queue.db?queue=to-server",  # see `owlsocket_sync.stores.open_queue`
        "INBOX": "shop.queues.inbox",       # or a queue, a callable that returns one, or its dotted path
        "AUTOSTART": False,
        # Or a hub, a callable that returns one, or its dotted path. To publish needs no URL beside it.
        "HUB": "redis://localhost:6379/0",
    }

``AUTH`` may also be a value of ``connect(auth=…)``, or the dotted path of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from ...client import open_connection
from ...client_options import ClientOptions
from ...connection import Connection
from ...context import AuthService
from ...deadline import check_timeout
from ...errors import InsecureTransportWarning, SocketError, StoreError
from ...stores.urls import as_queue
from ...urls import parse, parse_base
from ..hub_setting import as_hub
from ..queue_pair import one_queue_error
from .database import with_fresh_connections, with_short_lived_connections
from .places import place_errors
from .references import resolve, resolve_secret

if TYPE_CHECKING:
    from ...hub import Hub
    from ...stores import Queue

QUEUES = {"inbox": "INBOX", "outbox": "OUTBOX"}
KEYS = ("URL", "TOKEN", "AUTH", "TIMEOUTS", "CALL_TIMEOUT", "OPTIONS", "AUTOSTART", "HUB", *QUEUES.values())
AUTH_KEYS = ("URL", "KEY", "OPTIONS")
TIMEOUTS = {"CONNECT": "timeout", "CALL": "call_timeout"}
TOP_LEVEL = {"url": "URL", "token": "TOKEN", "auth": "AUTH", **QUEUES}
# Without `wait` and `replace`: a client connects when it is first used, and has one connection per process.
EXCLUDED = {*TOP_LEVEL, "wait", "replace"}
OPTIONS = tuple(option.name for option in fields(ClientOptions) if option.name not in EXCLUDED)
"""Names of the options in ``OPTIONS``: the fields of `ClientOptions`, without those that have a key of their own."""

INVALID_URL = "E001"
INVALID_OPTION = "E002"


@dataclass(frozen=True)
class Problem:
    """An error in the settings.

    Attributes:
        id: id of the system check that reports the error.
        text: the error and its place.
        hint: the remedy, or empty.
    """

    id: str
    text: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.text}. {self.hint}" if self.hint else self.text


@dataclass(frozen=True)
class Configuration:
    """A valid entry of ``OWLSOCKET``.

    Attributes:
        alias: name of the entry.
        url: URL to connect to; ``None`` where the entry only publishes to its hub.
        token: value of ``TOKEN`` in the settings.
        auth: value of ``AUTH`` in the settings.
        options: further options of `owlsocket_sync.connect`.
        queues: values of ``INBOX`` and ``OUTBOX`` in the settings, by option.
        autostart: whether long-running programs connect at their start.
        hub: value of ``HUB`` in the settings.
    """

    alias: str
    url: str | Callable[[], str] | None
    # Not in the repr, which ends up in logs: tokens, keys and a proxy's password.
    token: Any = field(default=None, repr=False)
    auth: Any = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    queues: Mapping[str, Any] = field(default_factory=dict, repr=False)
    autostart: bool = False
    hub: Any = field(default=None, repr=False)

    @classmethod
    def read(cls, alias: str, entry: Any) -> Configuration:
        """Read an entry of the settings.

        Raises:
            ImproperlyConfigured: the entry has an error; the message names its place.
        """
        for problem in problems(alias, entry):
            raise ImproperlyConfigured(str(problem))
        url = entry.get("URL")
        return cls(
            alias,
            # URLs and tokens are read on a thread that ends afterwards; its database connections must not stay open.
            with_short_lived_connections(url) if callable(url) else url,
            entry.get("TOKEN"),
            entry.get("AUTH"),
            _all_options(entry),
            {option: entry[key] for option, key in QUEUES.items() if entry.get(key) is not None},
            entry.get("AUTOSTART", False),
            entry.get("HUB"),
        )

    def find_url(self) -> str | Callable[[], str]:
        """Return the URL; raises `ImproperlyConfigured` where there is none."""
        if self.url is None:
            raise ImproperlyConfigured(f"{_place(self.alias, 'URL')} is missing: with a HUB alone, a client publishes")
        return self.url

    def late_options(self) -> dict[str, Any]:
        """Return credentials and queues as arguments of `owlsocket_sync.connect`.

        Raises:
            ImproperlyConfigured: a dotted path cannot be imported, or its object is not usable; or a store is not.
        """
        arguments: dict[str, Any] = {
            option: self._queue(QUEUES[option], value) for option, value in self.queues.items()
        }
        settings = (_place(self.alias, QUEUES[option]) for option in ("inbox", "outbox"))
        error = one_queue_error(arguments.get("inbox"), arguments.get("outbox"), *settings)
        if error is not None:
            raise ImproperlyConfigured(error)
        if self.token is not None:
            token = resolve_secret(self.token, _place(self.alias, "TOKEN"))
            arguments["token"] = with_short_lived_connections(token) if callable(token) else token
        if isinstance(self.auth, Mapping):
            arguments.update(self._login())
        elif self.auth is not None:
            auth = resolve(self.auth, _place(self.alias, "AUTH"))
            arguments["auth"] = with_fresh_connections(auth) if callable(auth) else auth
        return arguments

    def _queue(self, key: str, value: Any) -> Queue:
        place = _place(self.alias, key)
        try:
            return as_queue(resolve(value, place))
        except (ValueError, StoreError) as error:
            raise ImproperlyConfigured(f"{place} is invalid: {error}") from error

    def make_hub(self) -> Hub:
        """Return the hub of the settings; raises `ImproperlyConfigured` where there is none."""
        place = _place(self.alias, "HUB")
        if self.hub is None:
            raise ImproperlyConfigured(f"{place} is missing")
        try:
            return as_hub(resolve(self.hub, place))
        except (ValueError, SocketError) as error:
            raise ImproperlyConfigured(f"{place} is invalid: {error}") from error

    def _login(self) -> dict[str, Any]:
        place = _place(self.alias, "AUTH")
        key = resolve_secret(self.auth["KEY"], f"{place}['KEY']")
        try:
            service = AuthService(
                self.auth["URL"], key() if callable(key) else key, **dict(self.auth.get("OPTIONS") or {})
            )
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"{place} is invalid: {error}") from error
        return service.credentials()

    def connect(self, **changes: Any) -> Connection:
        """Open a separate connection without the project's handlers; raises what `owlsocket_sync.connect` raises."""
        options = {"name": self.alias, **self.options, **self.late_options(), **changes}
        return open_connection(ClientOptions(url=self.find_url(), **options))


def problems(alias: str, entry: Any) -> Iterator[Problem]:
    """Yield all errors of an entry; connects nothing, and shows no secret."""
    if not isinstance(entry, Mapping):
        yield Problem(INVALID_OPTION, f"OWLSOCKET[{alias!r}] must be a dict, not {type(entry).__name__}")
        return
    yield from _unknown_names(_place(alias), entry, KEYS)
    yield from _url_problems(alias, entry)
    yield from _credential_problems(alias, entry)
    for text in place_errors(entry, partial(_place, alias)):
        yield Problem(INVALID_OPTION, text)
    if not isinstance(entry.get("AUTOSTART", False), bool):
        yield Problem(INVALID_OPTION, f"{_place(alias, 'AUTOSTART')} must be True or False")
    # The values are checked together, by ClientOptions, which stops at a name or a type that it does not accept.
    found = [*_timeout_problems(alias, entry), *_option_name_problems(alias, entry)]
    yield from found or _option_value_problems(alias, entry)


def _place(alias: str, key: str | None = None) -> str:
    return f"OWLSOCKET[{alias!r}]" + (f"[{key!r}]" if key else "")


def _unknown_names(place: str, names: Iterable[str], known: Iterable[str]) -> Iterator[Problem]:
    """Yield a problem for each unknown name, with the nearest known name."""
    for name in names:
        if name not in known:
            # In lower case: difflib counts a letter of the other case as a different letter.
            spellings = {candidate.lower(): candidate for candidate in known}
            nearest = get_close_matches(str(name).lower(), spellings, 1, 0.5)
            hint = f"Did you mean {spellings[nearest[0]]!r}?" if nearest else f"Known names: {', '.join(known)}."
            yield Problem(INVALID_OPTION, f"{place} has the unknown name {name!r}", hint)


def _url_problems(alias: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    url, hint = entry.get("URL"), 'Example: "wss://api.example.com/ws".'
    if url is None:
        needy = [key for key in entry if key in (*QUEUES.values(), "AUTOSTART") and entry[key]]
        if entry.get("HUB") is None:
            yield Problem(INVALID_URL, f"{_place(alias, 'URL')} is missing", hint)
        elif needy:  # a hub alone publishes without
            yield Problem(INVALID_URL, f"{_place(alias, 'URL')} is missing, which {needy[0]} needs", hint)
    elif isinstance(url, str):
        try:
            parse(url)  # its messages never contain a password of the URL
        except ValueError as error:
            yield Problem(INVALID_URL, f"{_place(alias, 'URL')} is invalid: {error}", hint)
    elif not callable(url):
        yield Problem(INVALID_URL, f"{_place(alias, 'URL')} must be text or a callable, not {type(url).__name__}", hint)


def _credential_problems(alias: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    token, auth = entry.get("TOKEN"), entry.get("AUTH")
    if token is not None:
        yield from _reference_problems(resolve_secret, token, _place(alias, "TOKEN"))
    if isinstance(auth, Mapping):
        if token is not None:
            text = f"{_place(alias)} has both a TOKEN and an AUTH with a login"
            yield Problem(INVALID_OPTION, text, "Remove TOKEN: the login supplies the tokens.")
        yield from _login_problems(_place(alias, "AUTH"), auth)
    elif auth is not None:
        yield from _reference_problems(resolve, auth, _place(alias, "AUTH"))


def _login_problems(place: str, auth: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _unknown_names(place, auth, AUTH_KEYS)
    for key in ("URL", "KEY"):
        if auth.get(key) is None:
            yield Problem(INVALID_OPTION, f"{place}[{key!r}] is missing")
    if auth.get("URL") is not None:
        try:
            parse_base(auth["URL"], f"{place}['URL']")
        except ValueError as error:
            yield Problem(INVALID_OPTION, str(error))
    if auth.get("KEY") is not None:
        yield from _reference_problems(resolve_secret, auth["KEY"], f"{place}['KEY']")
    if not isinstance(auth.get("OPTIONS") or {}, Mapping):
        yield Problem(INVALID_OPTION, f"{place}['OPTIONS'] must be a dict")


def _reference_problems(resolver: Callable[[Any, str], Any], value: Any, place: str) -> Iterator[Problem]:
    try:
        resolver(value, place)
    except ImproperlyConfigured as error:
        yield Problem(INVALID_OPTION, str(error))


def _timeout_problems(alias: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    timeouts = entry.get("TIMEOUTS") or {}
    if not isinstance(timeouts, Mapping):
        text = f"{_place(alias, 'TIMEOUTS')} must be a dict with CONNECT, CALL or both, in seconds"
        yield Problem(INVALID_OPTION, text)
        return
    yield from _unknown_names(_place(alias, "TIMEOUTS"), timeouts, TIMEOUTS)
    values = {f"TIMEOUTS[{key!r}]": timeouts[key] for key in TIMEOUTS if key in timeouts}
    if "CALL_TIMEOUT" in entry:
        values["CALL_TIMEOUT"] = entry["CALL_TIMEOUT"]
    for name, value in values.items():
        try:
            check_timeout(value, f"{_place(alias)} {name}")
        except ValueError as error:
            yield Problem(INVALID_OPTION, str(error))


def _option_name_problems(alias: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    place, options = _place(alias, "OPTIONS"), entry.get("OPTIONS") or {}
    if not isinstance(options, Mapping):
        yield Problem(INVALID_OPTION, f"{place} must be a dict of options of connect()")
        return
    for name in options:
        if name in TOP_LEVEL:
            yield Problem(INVALID_OPTION, f"{place} contains {name!r}", f"Use the key {TOP_LEVEL[name]!r} instead.")
        elif name == "wait":
            yield Problem(INVALID_OPTION, f"{place} contains 'wait'", "Remove it: a client connects at its first use.")
    yield from _unknown_names(place, [name for name in options if name not in EXCLUDED], OPTIONS)
    for option, sources in _timeout_sources(entry).items():
        if len(sources) > 1:
            text = f"{_place(alias)} sets {option} more than once: {', '.join(sources)}"
            yield Problem(INVALID_OPTION, text)


def _timeout_sources(entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the timeouts by option, each with the places that set it and their values."""
    timeouts, options = entry.get("TIMEOUTS") or {}, entry.get("OPTIONS") or {}
    sources: dict[str, dict[str, Any]] = {option: {} for option in TIMEOUTS.values()}
    if isinstance(timeouts, Mapping):
        for key, option in TIMEOUTS.items():
            if key in timeouts:
                sources[option][f"TIMEOUTS[{key!r}]"] = timeouts[key]
    if "CALL_TIMEOUT" in entry:
        sources["call_timeout"]["CALL_TIMEOUT"] = entry["CALL_TIMEOUT"]
    for option in sources:
        if option in options:
            sources[option][f"OPTIONS[{option!r}]"] = options[option]
    return sources


def _all_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    timeouts = {option: value for option, places in _timeout_sources(entry).items() for value in places.values()}
    return {**(entry.get("OPTIONS") or {}), **timeouts}


def _option_value_problems(alias: str, entry: Mapping[str, Any]) -> Iterator[Problem]:
    # With a URL that is valid: the real one has its own check, and credentials are read when a client connects.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureTransportWarning)
            ClientOptions(url="ws://127.0.0.1/", **_all_options(entry))
    except (TypeError, ValueError) as error:
        yield Problem(INVALID_OPTION, f"{_place(alias, 'OPTIONS')} is invalid: {error}")
