"""The settings; only what this project needs."""

from __future__ import annotations

import os

SECRET_KEY = "a sample has no secrets"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
ROOT_URLCONF = "samples.django_view.urls"
OWLSOCKET_URL = os.environ.get("OWLSOCKET_URL", "ws://127.0.0.1:8765")
USE_TZ = True
