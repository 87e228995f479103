"""What the configuration of an app says of its connection: ``OWLSOCKET_URL``, and options of `connect`, in capitals.

``OWLSOCKET_TOKEN`` may be a token, a callable that gives one, or ``"package.module:callable"``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from inspect import signature
from typing import Any

from flask import Flask

from ...client import connect
from ...errors import ConfigError

LEFT_OUT = {"url", "wait"}
OPTIONS = tuple(name for name in signature(connect).parameters if name not in LEFT_OUT)


def read(app: Flask, prefix: str) -> tuple[Any, dict[str, Any]]:
    """Where an app connects to, and with which options.

    Raises:
        ConfigError: it does not say, or says something that nobody knows; the message names it.
    """
    given = dict(app.config.get_namespace(prefix))
    url = given.pop("url", None)
    check_names(given, prefix)
    if not url:
        raise ConfigError(f'{app.name!r} does not say where to connect to: app.config["{prefix}URL"] = "wss://…"')
    if isinstance(given.get("token"), str) and _is_path(given["token"]):
        given["token"] = _imported(given["token"], f"{prefix}TOKEN")
    return url, given


def check_names(given: Mapping[str, Any], prefix: str) -> None:
    """Raise `ConfigError` where a name is no option."""
    for name in given:
        if name not in OPTIONS and name != "url":
            near = get_close_matches(name, [*OPTIONS, "url"], 1)
            hint = f", did you mean {prefix}{near[0].upper()}?" if near else ""
            raise ConfigError(f"{prefix}{name.upper()} is no option{hint}")


def _is_path(text: str) -> bool:
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def _imported(path: str, what: str) -> Any:
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} leads nowhere: {error}") from error
    if not callable(found):
        raise ConfigError(f"{what} must lead to a callable that gives a token")
    return found
