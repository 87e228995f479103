"""The Django app: registers the system checks, and imports ``handlers.py`` of all apps; connects nothing."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class OwlSocketConfig(AppConfig):  # type: ignore[misc]
    """Configuration of ``"owlsocket_sync.contrib.django"`` in ``INSTALLED_APPS``."""

    name = "owlsocket_sync.contrib.django"
    label = "owlsocket"
    verbose_name = "owlsocket"

    def ready(self) -> None:
        """Register the checks and the handlers; a process that never calls the server never connects."""
        # Imported here: checks read the settings, and this module is loaded while Django still sets up its apps.
        from .checks import register_checks

        register_checks()
        autodiscover_modules("handlers")
