"""The Autobahn testsuite, the usual proof of RFC 6455, against both ends; it is not installed with the tests.

It needs Python 2.7: ``pip install autobahntestsuite``. OWLSOCKET_WSTEST is the command that starts its ``wstest``.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.helpers import scaled, whole

TESTS = Path(__file__).parent.parent
WSTEST = shlex.split(os.environ.get("OWLSOCKET_WSTEST", "")) or [shutil.which("wstest") or ""]
NAMESPACE = ["unshare", "--net"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "-r", "--net"]

ORDINARY, LARGE = [f"{group}.*" for group in range(1, 8)], ["9.*", "10.*"]
KINDS = [*(f"12.{kind}" for kind in range(1, 6)), *(f"13.{kind}" for kind in range(1, 8))]
"""Compression of different texts, and by different agreements; each for messages of different sizes."""
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
"""Not strict: a violation that is noticed within a message, or before the message in front of it was echoed."""

LAST_PING_ALONE = {"2.10", "2.11"}
"""They await a pong for each of ten pings; of several, the last alone may be answered (section 5.5.3)."""


def _has_namespaces() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not shutil.which(WSTEST[0]), reason="wstest of autobahntestsuite is not installed")
@pytest.mark.parametrize("side", ["client", "server"])
def test_the_autobahn_testsuite_passes(side: str, tmp_path: Path) -> None:
    """Every case, and some sizes of each kind of compression; the large ones with ``-m stress`` alone."""
    if not _has_namespaces():
        pytest.skip(
            "the server of the testsuite listens on all interfaces, and network namespaces are not allowed here"
        )
    compressed = [f"{kind}.{size}" for kind in KINDS for size in whole([1, 6], [1, 3, 5, 6, 11])]
    cases = {"cases": [*ORDINARY, *whole([], LARGE), *compressed], "exclude-cases": []}
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    ours = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    command = [*NAMESPACE, sys.executable, "-m", "rfc6455.autobahn", side, str(tmp_path), *WSTEST]
    subprocess.run(command, env=ours, check=True, timeout=scaled(whole(120, 1000)))
    (results,) = json.loads((tmp_path / "index.json").read_text(encoding="utf-8")).values()
    assert len(results) > 200
    failed = {case for case, result in results.items() if result["behavior"] not in PASSED}
    assert failed <= LAST_PING_ALONE
    assert {result["behaviorClose"] for result in results.values()} <= PASSED
