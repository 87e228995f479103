"""System checks of the setting ``OWLSOCKET``: errors and risks, reported before anything connects."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from ...urls import Target, is_loopback, parse
from .configuration import INVALID_OPTION, INVALID_URL, problems
from .places import folder_error, places, redis_error
from .references import is_literal

TAG = "owlsocket"
SETTING = "OWLSOCKET"


def register_checks() -> None:
    """Register the checks with Django."""
    register(check_settings, TAG)
    register(check_deployment, TAG, deploy=True)


def check_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Return errors of the setting (E001, E002), and warnings about risks (W002 to W005)."""
    setting = getattr(settings, SETTING, None)
    if not isinstance(setting, Mapping) or "default" not in setting:
        return [_no_default(setting)]
    messages: list[CheckMessage] = []
    for alias, entry in setting.items():
        for problem in problems(alias, entry):
            messages.append(Error(f"{problem.text}.", hint=problem.hint or None, id=f"{TAG}.{problem.id}"))
        if isinstance(entry, Mapping):
            messages += _unverified_tls(alias, entry)
            messages += _literal_secrets(alias, entry)
            messages += _unusable_places(alias, entry)
    return [*messages, *_unpatched_gevent()]


def _no_default(setting: Any) -> Error:
    """Return the error of a setting without a default entry."""
    hint = f'Set a URL: {SETTING} = {{"default": {{"URL": "wss://api.example.com/ws"}}}}.'
    if setting is not None and not isinstance(setting, Mapping):
        text = f"{SETTING} must be a dictionary, not {type(setting).__name__}."
        return Error(text, hint=hint, id=f"{TAG}.{INVALID_URL}")
    nearest = get_close_matches("default", map(str, setting or ()), 1, 0.7)
    hint = f"Did you mean 'default' by {nearest[0]!r}?" if nearest else hint
    return Error(f"{SETTING} has no 'default'.", hint=hint, id=f"{TAG}.{INVALID_URL}")


def check_deployment(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Return warnings about unencrypted connections (W001)."""
    setting = getattr(settings, SETTING, None)
    return [
        Warning(
            f"{SETTING}[{alias!r}]['URL'] is ws:// to {target.host}: the connection is not encrypted.",
            hint="Use wss://.",
            id=f"{TAG}.W001",
        )
        for alias, target in _targets(setting)
        if not target.secure and not is_loopback(target.host)
    ]


def _targets(setting: Any) -> Iterator[tuple[str, Target]]:
    for alias, entry in setting.items() if isinstance(setting, Mapping) else ():
        url = entry.get("URL") if isinstance(entry, Mapping) else None
        if isinstance(url, str):
            try:
                yield alias, parse(url)
            except ValueError:
                continue  # reported by E001


def _unverified_tls(alias: str, entry: Mapping[str, Any]) -> Iterator[CheckMessage]:
    options = entry.get("OPTIONS")
    context = options.get("ssl_context") if isinstance(options, Mapping) else None
    if not isinstance(context, ssl.SSLContext):
        return
    # Both are needed: a valid certificate of another host proves nothing.
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        yield Warning(
            f"{SETTING}[{alias!r}]['OPTIONS']['ssl_context'] does not verify the server's certificate.",
            hint="Keep verification on, and load the server's CA certificate with load_verify_locations().",
            id=f"{TAG}.W002",
        )


def _literal_secrets(alias: str, entry: Mapping[str, Any]) -> Iterator[CheckMessage]:
    auth = entry.get("AUTH")
    secrets = {"['TOKEN']": entry.get("TOKEN")}
    if isinstance(auth, Mapping):
        secrets["['AUTH']['KEY']"] = auth.get("KEY")
    for place, value in secrets.items():
        if is_literal(value):
            yield Warning(
                f"{SETTING}[{alias!r}]{place} seems to contain the secret itself.",
                hint="Use the dotted path of a callable, such as 'shop.tokens.read', that reads the secret from a safe "
                "place. If the value is a path, its first package was not found.",
                id=f"{TAG}.W003",
            )


def _unusable_places(alias: str, entry: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Yield an error for each URL that Redis does not take, and a warning for each file that cannot be made here."""
    for key, place in places(entry):
        text = redis_error(place)
        if text is not None:
            yield Error(f"{SETTING}[{alias!r}][{key!r}] is invalid: {text}.", id=f"{TAG}.{INVALID_OPTION}")
        text = folder_error(place)
        if text is not None:
            # No error: the folder may be there where the project will run, as when an image of it is built here.
            yield Warning(
                f"{SETTING}[{alias!r}][{key!r}]: {text}.",
                hint="Make the folder, or name another one.",
                id=f"{TAG}.W005",
            )


def _unpatched_gevent() -> Iterator[CheckMessage]:
    """Yield a warning if gevent is imported but threads are not patched: a blocking call then blocks all greenlets."""
    # Looked up, not imported: a project without gevent must not load it, and one with gevent has it loaded by now.
    monkey = sys.modules.get("gevent.monkey")
    if "gevent" in sys.modules and not (monkey and monkey.is_module_patched("threading")):
        yield Warning(
            "gevent is imported but has not patched threads and sockets: a blocking call blocks all greenlets.",
            hint="Call gevent.monkey.patch_all() before anything else is imported.",
            id=f"{TAG}.W004",
        )
