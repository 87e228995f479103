"""Celery tasks publish through a hub to the clients of a server in another process, from each of their workers."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from pathlib import Path

import pytest

from owlsocket_sync import connect
from owlsocket_sync.hub import open_hub
from owlsocket_sync.server import serve
from support.child_processes import APPS, Child, environment
from support.helpers import Collector, eventually, whole
from support.redis_servers import RedisServer
from support.variants import kinds

COMMAND = [sys.executable, "-m", "celery", "-A", "hub_tasks", "worker", "--pool", "prefork", "--concurrency", "2"]
QUIET = "--loglevel WARNING --without-gossip --without-mingle --without-heartbeat"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", kinds(["sqlite", "redis"], "sqlite"))
def test_tasks_of_all_workers_reach_the_clients_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The hub was made before the workers were forked: each has links of its own."""
    url = f"sqlite:///{tmp_path}/hub.db"
    if kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = f"{server.url}?prefix={uuid.uuid4().hex}"
    count, seen = whole(30, 600), Collector()
    (present := tmp_path / "present").mkdir()
    env = environment("", HUB_URL=url, QUEUE_FOLDER=str(tmp_path), PRESENCE_FOLDER=str(present))
    env["PYTHONPATH"] += f"{os.pathsep}{APPS.parent.parent}"  # of what the tests share
    with (
        open_hub(url) as hub,
        serve(lambda conn, request: conn.join("prices"), hub=hub) as running,
        connect(running.url, setup=lambda conn: conn.observe("tick", lambda message: seen(message.payload))),
        Child([*COMMAND, *QUIET.split()], env) as worker,
    ):
        eventually(lambda: hub.count("prices") == 1)
        with Child([sys.executable, str(APPS / "hub_tasks.py"), str(count)], env) as client:
            assert client.finish().code == 0
        published = seen.wait(count, 60)
        worker.send(signal.SIGTERM)
        done = worker.finish()
    assert sorted(number for _, number in published) == list(range(count))
    assert len({process for process, _ in published} - {worker.pid}) == 2
    assert done.code == 0
    assert "Traceback" not in done.complaints
    assert "ERROR" not in done.complaints
