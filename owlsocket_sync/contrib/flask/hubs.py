"""The hub of an app, from ``OWLSOCKET_HUB``.

Threads: any; the hub is set in one step of the interpreter. A forked process uses the same one, which parts by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Flask

from ...errors import ConfigError, SocketError
from .configuration import HUB, import_value

if TYPE_CHECKING:
    from ...hub import Hub
    from ..recorded_hub import RecordedHub
    from .routes import WebSocketRoute


class AppHub:
    """The hub of one app, made at its first use.

    Args:
        app: the app.
        prefix: prefix of the keys in the app's configuration.
    """

    def __init__(self, app: Flask, prefix: str) -> None:
        self._app = app
        self._key = f"{prefix}{HUB.upper()}"
        self._made: dict[str, Hub] = {}
        self._recorded: RecordedHub | None = None

    def find(self) -> Hub | None:
        """Return the hub; ``None`` where none is configured; raises `ConfigError`."""
        value = self._app.config.get(self._key)
        if value is None:
            return None
        # After the setting: an app without a hub must fail in its tests too.
        if self._recorded is not None:
            return self._recorded
        hub = self._made.get(HUB)
        if hub is None:
            from ..hub_setting import as_hub

            try:
                hub = self._made.setdefault(HUB, as_hub(import_value(value, self._key)))
            except (ValueError, SocketError) as error:
                raise ConfigError(f"{self._key} is invalid: {error}") from error
        return hub

    def get(self) -> Hub:
        """Return the hub; raises `ConfigError` where none is configured."""
        hub = self.find()
        if hub is None:
            raise ConfigError(f'app {self._app.name!r} has no hub: set app.config["{self._key}"] = "sqlite:///hub.db"')
        return hub

    @contextmanager
    def recorded(self, routes: Iterable[WebSocketRoute]) -> Iterator[RecordedHub]:
        """Replace the hub inside the ``with`` block of a test; one inside another shares the hub of the outer one.

        Args:
            routes: their clients leave the hub at the end.
        """
        if self._recorded is not None:
            yield self._recorded
            return
        from ..recorded_hub import RecordedHub

        with RecordedHub() as hub:
            self._recorded = hub
            try:
                yield hub
            finally:
                self._recorded = None
                for route in routes:
                    route.leave(hub)
