"""The settings; the environment provides the server and the database."""

from __future__ import annotations

import os

SECRET_KEY = "a test has no secrets"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "contrib.project.urls"
WSGI_APPLICATION = "contrib.project.wsgi.application"
INSTALLED_APPS = ["owlsocket_sync.contrib.django", "contrib.project.shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("PROJECT_DATABASE", ":memory:")},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
LOGGING_CONFIG = None
OWLSOCKET = {
    "default": {
        "URL": os.environ.get("OWLSOCKET_URL", "ws://127.0.0.1:1/"),
        "TOKEN": "contrib.project.shop.tokens.read",
        "TIMEOUTS": {"CONNECT": 20, "CALL": 20},
        "AUTOSTART": True,
        "OUTBOX": os.environ.get("OUTBOX"),
        "INBOX": os.environ.get("INBOX"),
        "HUB": os.environ.get("OWLSOCKET_HUB"),
    },
    "stock": {
        "URL": os.environ.get("STOCK_URL", "ws://127.0.0.1:1/"),
        "TIMEOUTS": {"CONNECT": float(os.environ.get("STOCK_SECONDS", "20"))},
        "CALL_TIMEOUT": 20,
    },
}
