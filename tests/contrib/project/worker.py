"""A worker of the project: prints the payloads of so many messages of the inbox."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "contrib.project.settings")
    import django

    django.setup()
    from owlsocket_sync.contrib.django import client

    for message in client.messages(limit=int(sys.argv[1]), timeout=30):
        print(message.payload, flush=True)
    client.close()
