"""A Flask app in gunicorn, behind nginx: the files of docs/how-to/deployment.md."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from owlsocket_sync import Backoff, connect
from support.child_processes import Child, environment
from support.helpers import Collector, eventually, scaled
from support.proxies import Nginx, adapted, fixed_port, listens

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Nginx.is_installed(), reason="no nginx on this machine: apt-get install nginx"),
]


def test_new_workers_take_over_the_clients_of_the_old_ones(tmp_path: Path) -> None:
    """At a reload of gunicorn: the old ones close their links with 1001, and calls that may be repeated survive."""
    port = fixed_port()
    (tmp_path / "web.py").write_text(adapted("web.py", {}), encoding="utf-8")
    config = {"127.0.0.1:8001": f"127.0.0.1:{port}", "workers = 2": "workers = 1"}
    (tmp_path / "gunicorn.conf.py").write_text(adapted("gunicorn.conf.py", config), encoding="utf-8")
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(tmp_path), "--log-level", "warning", "web:app"]
    with Child([*command, "--config", str(tmp_path / "gunicorn.conf.py")], environment("")) as child:
        eventually(lambda: listens(port), 20)
        with (
            Nginx(tmp_path, (port, port)) as nginx,
            connect(f"{nginx.url}ws", timeout=scaled(20), reconnect=Backoff(initial=0.05, cap=0.5)) as conn,
        ):
            codes = Collector()
            conn.on_state(lambda change: change.code and codes(change.code))
            assert conn.call("double", 21, timeout=scaled(10)) == 42
            child.send(signal.SIGHUP)
            assert codes.wait(1, 20) == [1001]
            assert conn.call("double", 4, timeout=scaled(20), retry=True) == 8
