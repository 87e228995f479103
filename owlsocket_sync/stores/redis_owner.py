"""Owners of leases in Redis: processes, which others on the same machine know to be dead as soon as they are.

A process is known by its id and the moment of its start, on a machine that is known by its boot, and among the ids of
its container. Where the system does not tell these, and on other machines, the end of its leases tells that it is dead.
"""

from __future__ import annotations

import os
import uuid


def make_owner() -> str:
    """Return the name of this process as an owner, which no other process has."""
    pid = os.getpid()
    return f"{_machine()}/{pid}/{_start_of(pid) or '-'}/{uuid.uuid4().hex[:16]}"


def is_dead(owner: str) -> bool:
    """Return whether an owner is known to be dead; false where that cannot be known here."""
    machine, _, rest = owner.partition("/")
    pid, _, rest = rest.partition("/")
    start = rest.partition("/")[0]
    if not machine or machine != _machine() or start == "-" or not pid.isdigit():
        return False
    return _start_of(int(pid)) != start


def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Return the moment at which a process was started; ``None`` for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in parentheses, may hold spaces.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    # A zombie has ended: its parent did not ask for its code yet.
    return None if fields[0] in (b"Z", b"X") else fields[19].decode()
