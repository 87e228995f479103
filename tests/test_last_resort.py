"""Errors that have no caller reach stderr, once, if the program did not set up logging; nothing else does."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from support.child_processes import run
from support.django_project import environment
from support.helpers import scaled

pytestmark = pytest.mark.slow

FAILS = """
import logging
from owlsocket_sync.testing import pair

ours, theirs = pair(name="till", strict=False)

def fail(*arguments):
    secret = "hush"
    raise LookupError("no such dish")

def fail_step(stage, payload):
    fail(stage)
"""
PROVOKE = """
ours.observe("news", fail)
theirs.notify("news", {"token": "hush"})
ours.close()
"""
SHOWN = "till: observe news: no such dish"


def complaints(source: str) -> str:
    """What a script that loses an error writes to stderr."""
    done = run(FAILS + source, "")
    assert done.code == 0, done.complaints
    return done.complaints


def test_an_error_of_a_handler_reaches_stderr() -> None:
    """With its place and its traceback, once, and without the values of local variables or of the message."""
    shown = complaints(PROVOKE)
    assert shown.count(SHOWN) == shown.count("Traceback") == 1
    assert "in fail" in shown
    assert "hush" not in shown


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("ours.perform('fail', fail)\ntheirs.submit('fail', 1).exception(5)", "perform fail"),
        ("ours.listen(fail)\ntheirs.notify('news')", "listen"),
        ("ours.acknowledge(lambda id, payload: fail(id))\ntheirs.request(1)", "acknowledge"),
        ("ours.on_state(fail)", "on_state"),
        ("ours.authenticate = fail_step\ntheirs.send('{\"type\": \"auth\", \"stage\": \"init\"}')", "authenticate"),
        ("theirs.send('not JSON')", "receive"),
    ],
    ids=["perform", "listen", "acknowledge", "on_state", "authenticate", "a malformed message"],
)  # fmt: skip
def test_an_error_of_any_handler_reaches_stderr(source: str, name: str) -> None:
    """Each verb that runs a function of the user, and each message that cannot be read."""
    assert f"till: {name}" in complaints(f"{source}\nours.close()")


def test_an_error_of_a_servers_handler_reaches_stderr() -> None:
    """The client sees a close code only."""
    source = """
    from owlsocket_sync.server import serve

    def handler(conn, request):
        raise LookupError("no such shop")

    with serve(handler, name="shop") as server, connect(server.url, reconnect=None) as conn:
        print(conn.wait_closed(20).code)
    """
    done = run(source, "")
    assert (done.code, done.out) == (0, "1011\n")
    assert done.complaints.count("the handler failed: LookupError: no such shop") == 1


def test_an_error_handler_of_the_program_replaces_stderr() -> None:
    """What it raises itself is shown, with the error that it was to handle."""
    handled = "ours.on_error(lambda error, context: print(context, error))"
    assert complaints(handled + PROVOKE) == ""
    failing = complaints("ours.on_error(lambda error, context: 1 / 0)" + PROVOKE)
    assert "an on_error handler failed at observe news: division by zero" in failing
    assert "no such dish" in failing


@pytest.mark.parametrize(
    ("setup", "count"),
    [
        ("logging.basicConfig()", 1),
        ("logging.basicConfig(handlers=[logging.NullHandler()])", 0),
        ("logging.getLogger('owlsocket_sync').addHandler(logging.StreamHandler())", 1),
        ("logging.getLogger('owlsocket_sync').addHandler(logging.NullHandler())", 0),
        ("logging.getLogger('owlsocket_sync').setLevel(logging.CRITICAL)", 0),
        ("logging.disable(logging.ERROR)", 0),
        ("logging.lastResort = None", 0),
        ("logging.raiseExceptions = False", 1),
        ("logging.basicConfig(force=True); logging.getLogger('owlsocket_sync').propagate = False", 1),
    ],
    ids=["basicConfig", "root discards", "handler of our logger", "our logger discards", "level", "disabled",
         "no last resort", "no exceptions of logging", "no propagation"],
)  # fmt: skip
def test_a_program_that_sets_up_logging_decides(setup: str, count: int) -> None:
    """Also after the import: what it configures gets the record, and nothing is shown twice."""
    assert complaints(setup + PROVOKE).count(SHOWN) == count


@pytest.mark.parametrize("stderr", ["None", "closed", "broken"])
def test_an_error_without_a_place_to_show_it_ends_nothing(stderr: str) -> None:
    """A program without a console has no stderr; some replace or close it."""
    source = f"""
    kept = sys.stderr

    class Broken:
        def write(self, text):
            raise ZeroDivisionError("broken")

    closed = open(os.devnull, "w")
    closed.close()
    sys.stderr = dict(closed=closed, broken=Broken()).get({stderr!r})
    ours.observe("news", fail)
    theirs.notify("news")
    theirs.notify("news")
    ours.perform("echo", lambda value: value)
    assert theirs.call("echo", 1) == 1
    ours.close()
    sys.stderr = kept
    """
    assert complaints(dedent(source)) == ""


def test_a_lost_link_is_not_shown() -> None:
    """State changes and failed attempts are warnings, which a program asks for by setting up logging."""
    source = """
    from owlsocket_sync.server import serve
    server = serve(lambda conn, request: None)
    conn = connect(server.url, reconnect=Backoff(initial=0.01, cap=0.01))
    server.close()
    lost = threading.Event()
    conn.on_state(lambda change: lost.set())
    lost.wait(1)
    conn.close()
    """
    done = run(source, "")
    assert (done.code, done.complaints) == (0, "")


def test_an_error_in_a_django_project_reaches_stderr() -> None:
    """With the logging that Django sets up by default, which has no handler for other loggers."""
    source = FAILS + PROVOKE
    setup = """
import django.conf, contrib.project.settings as project
names = {name: getattr(project, name) for name in dir(project) if name.isupper() and name != "LOGGING_CONFIG"}
django.conf.settings.configure(**names)
django.setup()
"""
    ran = subprocess.run(
        [sys.executable, "-c", f"import django\n{setup}{source}"],
        capture_output=True,
        text=True,
        timeout=scaled(40),
        env=environment(),
        check=True,
    )
    assert ran.stderr.count(SHOWN) == 1


def test_pytest_keeps_the_record(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Its handlers get it, so stderr does not."""
    from owlsocket_sync.testing import pair

    ours, theirs = pair(name="till", strict=False)
    ours.observe("news", lambda message: 1 / 0)
    theirs.notify("news")
    ours.close()
    assert [record.levelname for record in caplog.records if "till: observe news" in record.getMessage()] == ["ERROR"]
    assert capsys.readouterr().err == ""
