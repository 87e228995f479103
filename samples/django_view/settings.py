"""The minimal settings of this project."""

from __future__ import annotations

import os

SECRET_KEY = "a sample has no secrets"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "samples.django_view.urls"
INSTALLED_APPS = ["owlsocket_sync.contrib.django", "samples.django_view"]
OWLSOCKET = {
    "default": {
        "URL": os.environ.get("OWLSOCKET_URL", "ws://127.0.0.1:8765"),
        "TIMEOUTS": {"CONNECT": 10, "CALL": 5},
    },
}
USE_TZ = True
