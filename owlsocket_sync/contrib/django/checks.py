"""System checks of the setting ``OWLSOCKET``: what is wrong, or unwise, before anything connects."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

from ...urls import is_loopback, parse
from .configuration import BAD_PLACE, problems
from .references import is_literal

TAG = "owlsocket"
SETTING = "OWLSOCKET"


def register_checks() -> None:
    """Have Django run them."""
    register(check_settings, TAG)
    register(check_deployment, TAG, deploy=True)


def check_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """E001, E002: what cannot be used. W002 to W004: what can, and should not."""
    given = getattr(settings, SETTING, None)
    if not isinstance(given, Mapping) or "default" not in given:
        hint = f'Say where to connect to: {SETTING} = {{"default": {{"URL": "wss://api.example.com/ws"}}}}.'
        return [Error(f"{SETTING} has no 'default'.", hint=hint, id=f"{TAG}.{BAD_PLACE}")]
    found: list[CheckMessage] = []
    for alias, entry in given.items():
        for problem in problems(alias, entry):
            found.append(Error(f"{problem.text}.", hint=problem.hint or None, id=f"{TAG}.{problem.id}"))
        if isinstance(entry, Mapping):
            found += _unverified(alias, entry)
            found += _literal_secrets(alias, entry)
    return [*found, *_unpatched()]


def check_deployment(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """W001: what travels in the clear."""
    given = getattr(settings, SETTING, None)
    return [
        Warning(
            f"{SETTING}[{alias!r}]['URL'] is ws:// to {target.host}: everything travels in the clear.",
            hint="Use wss://.",
            id=f"{TAG}.W001",
        )
        for alias, target in _targets(given)
        if not target.secure and not is_loopback(target.host)
    ]


def _targets(given: Any) -> Iterator[tuple[str, Any]]:
    for alias, entry in given.items() if isinstance(given, Mapping) else ():
        url = entry.get("URL") if isinstance(entry, Mapping) else None
        if isinstance(url, str):
            try:
                yield alias, parse(url)
            except ValueError:
                continue  # E001 tells


def _unverified(alias: str, entry: Mapping[str, Any]) -> Iterator[CheckMessage]:
    options = entry.get("OPTIONS")
    context = options.get("ssl_context") if isinstance(options, Mapping) else None
    if not isinstance(context, ssl.SSLContext):
        return
    if context.verify_mode is not ssl.CERT_REQUIRED or not context.check_hostname:
        yield Warning(
            f"{SETTING}[{alias!r}]['OPTIONS']['ssl_context'] does not verify who the server is.",
            hint="Have it trust the authority of the server with load_verify_locations(), and leave verification on.",
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
                f"{SETTING}[{alias!r}]{place} seems to be the secret itself.",
                hint="Name a callable by its dotted path, such as 'shop.tokens.read', and let it read the secret from "
                "where secrets are kept. If this is a path, its first package cannot be found.",
                id=f"{TAG}.W003",
            )


def _unpatched() -> Iterator[CheckMessage]:
    """gevent that was imported, while threads and sockets are the system's: whoever waits stops all greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    if "gevent" in sys.modules and not (monkey and monkey.is_module_patched("threading")):
        yield Warning(
            "gevent is imported, and has not patched threads and sockets: a call would stop all greenlets.",
            hint="Call gevent.monkey.patch_all() before anything else is imported.",
            id=f"{TAG}.W004",
        )
