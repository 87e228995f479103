"""`SocketServerTestCase`, run by Django's test runner on a project; such a test can fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.django_project import manage

pytestmark = pytest.mark.slow

LABEL = "contrib.project.shop.tests"


def test_tests_of_a_project_pass() -> None:
    """In transactions, with a live server, and without a database; stderr has no other output."""
    ran = manage("test", LABEL)
    assert ran.returncode == 0, ran.stderr
    (count,) = re.findall(r"Ran (\d+) tests", ran.stderr)
    assert int(count) >= 11
    assert "OK (skipped=5)" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_tests_of_a_project_pass_in_parallel() -> None:
    """In processes that Django forks, each class has a server in its own process."""
    ran = manage("test", LABEL, "--parallel", "2")
    assert ran.returncode == 0, ran.stderr
    assert "OK (skipped=5)" in ran.stderr


def test_a_failing_test_fails() -> None:
    """The failure names the missing event."""
    ran = manage("test", f"{LABEL}.FailingTests", WITH_FAILURES="1")
    assert ran.returncode == 1
    assert "FAILED (failures=3)" in ran.stderr
    assert "no event 'order.paid' within 0.05 s; no events received\n" in ran.stderr
    assert "no events received; what waits for a commit is sent inside of captureOnCommitCallbacks(exec" in ran.stderr


def test_a_test_publishes_to_no_client_of_the_real_hub(tmp_path: Path) -> None:
    """The hub is replaced by one in memory, which keeps the events for the test; the file is not even made."""
    ran = manage("test", f"{LABEL}.HubTests", OWLSOCKET_HUB=f"sqlite:///{tmp_path}/hub.db")
    assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.iterdir()) == []
