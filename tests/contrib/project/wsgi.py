"""The WSGI application of the project."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "contrib.project.settings")
application = get_wsgi_application()


def eager() -> object:
    """The application, connected at import: before the fork, if the web server preloads it."""
    from owlsocket_sync.contrib.django import client

    assert client.call("double", os.getpid(), 1) == 2
    return application


def loaded() -> object:
    """The application, which puts a message at import."""
    from owlsocket_sync.contrib.django import client

    client.enqueue("loaded")
    return application
