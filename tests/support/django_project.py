"""The Django project of the tests: set up once in this process, or run by itself in one of its own."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.child_processes import ROOT
from support.helpers import scaled

TESTS = ROOT / "tests"
PROJECT = TESTS / "contrib" / "project"
PATIENCE = 40.0
SETTINGS = "contrib.project.settings"


def environment(**more: str) -> dict[str, str]:
    """That of a process that runs the project, in which a warning is an error."""
    path = os.pathsep.join((str(ROOT), str(TESTS)))
    common = {"PYTHONPATH": path, "PYTHONWARNINGS": "error", "DJANGO_SETTINGS_MODULE": SETTINGS}
    return {**os.environ, **common, **more}


def command(*arguments: str) -> list[str]:
    """``manage.py`` with these arguments."""
    return [sys.executable, str(PROJECT / "manage.py"), *arguments]


def manage(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` to its end, with these additions to the environment."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        encoding="utf-8",
        timeout=scaled(PATIENCE),
        env=environment(**more),
        stdin=subprocess.DEVNULL,
    )


def answers(ran: subprocess.CompletedProcess[str]) -> list[Any]:
    """What came on stdout, where each line must be JSON, and nothing may be on stderr."""
    assert ran.stderr == ""
    return [json.loads(line) for line in ran.stdout.splitlines()]


def set_up() -> None:
    """Have Django run the project in this process too, on a database in a file, which all threads see; idempotent."""
    from django.conf import settings

    if settings.configured:
        return
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    os.environ["PROJECT_DATABASE"] = str(Path(folder.name) / "shop.sqlite3")
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    try:
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", run_syncdb=True, verbosity=0)
    finally:
        del os.environ["PROJECT_DATABASE"], os.environ["DJANGO_SETTINGS_MODULE"]


@contextmanager
def owlsocket(**entries: Any) -> Iterator[None]:
    """The setting ``OWLSOCKET`` with these entries; at the end all connections are closed, and no order is left."""
    from django.db import connections
    from django.test import override_settings

    from contrib.project.shop.models import Order

    with override_settings(OWLSOCKET=entries):
        try:
            yield
        finally:
            Order.objects.all().delete()
            connections.close_all()
