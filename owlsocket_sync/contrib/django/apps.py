"""The app: checks the settings, and finds the ``handlers.py`` of all apps; it connects nothing."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class OwlSocketConfig(AppConfig):  # type: ignore[misc]
    """``"owlsocket_sync.contrib.django"`` in ``INSTALLED_APPS``."""

    name = "owlsocket_sync.contrib.django"
    label = "owlsocket"
    verbose_name = "owlsocket"

    def ready(self) -> None:
        """Register the checks and the handlers; a process that never talks to the server never connects."""
        from .checks import register_checks

        register_checks()
        autodiscover_modules("handlers")
