"""A fork by C code in the middle of a use of the file: the child is told that it cannot use it, the parent goes on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support.child_processes import Child, environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

IN_USE = """
import ctypes, os, sys
from owlsocket_sync import StoreError
from owlsocket_sync.hub import SqliteHub
hub = SqliteHub(sys.argv[1])
hub.publish("n")
def fork(connection):
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        code = 1
        try:
            hub.publish("n")
        except StoreError as error:
            code = 7 if "was forked while its parent used" in str(error) else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
codes = []
hub._sqlite_bus._file.write(lambda connection: codes.append(fork(connection)))
hub.publish("n")
hub.close()
print(codes)
"""


def test_a_child_that_was_forked_during_a_use_of_the_file_is_told(tmp_path: Path) -> None:
    """It cannot tell what its parent had done of it."""
    with Child([sys.executable, "-c", IN_USE, str(tmp_path / "hub.db")], environment()) as child:
        done = child.finish()
    assert (done.code, done.out, done.complaints) == (0, "[7]\n", "")
