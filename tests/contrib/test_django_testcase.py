"""`SocketServerTestCase`, as Django's own runner runs it on a project; and that such a test can fail."""

from __future__ import annotations

import re

from django_project import manage

LABEL = "contrib.project.shop.tests"


def test_the_tests_of_a_project_pass() -> None:
    """In transactions, with a live server, and without a database; nothing but dots on stderr."""
    ran = manage("test", LABEL)
    assert ran.returncode == 0, ran.stderr
    (count,) = re.findall(r"Ran (\d+) tests", ran.stderr)
    assert int(count) >= 11
    assert "OK (skipped=2)" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_they_pass_side_by_side() -> None:
    """In processes that Django forks: each class has its server in the process that runs it."""
    ran = manage("test", LABEL, "--parallel", "2")
    assert ran.returncode == 0, ran.stderr
    assert "OK (skipped=2)" in ran.stderr


def test_a_test_that_should_fail_does() -> None:
    """And says what was not heard."""
    ran = manage("test", f"{LABEL}.FailingTests", WITH_FAILURES="1")
    assert ran.returncode == 1
    assert "FAILED (failures=2)" in ran.stderr
    assert "the server heard no event 'order.paid' within 0.05 s, nor any other" in ran.stderr
