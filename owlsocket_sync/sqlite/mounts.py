"""The file system of a store: SQLite's WAL needs memory that all its processes share, which a network does not have."""

from __future__ import annotations

import os

from ..errors import StoreError
from ..errors.safe_text import logger

NETWORK = frozenset(
    "nfs nfs3 nfs4 cifs smb2 smb3 smbfs afs ceph glusterfs fuse.glusterfs fuse.sshfs fuse.s3fs fuse.rclone lustre "
    "beegfs gpfs ncpfs coda ocfs2 gfs2 davfs".split()
)
UNCERTAIN = frozenset("9p virtiofs fuse.grpcfuse fakeowner fuse.osxfs vboxsf prl_fs vmhgfs fuse.vmhgfs-fuse".split())
"""File systems between a machine and a virtual one on it: safe only while one of the two uses the file."""


def check_file_system(path: str) -> None:
    """Raise `StoreError` for a file on a network file system; warn of one that another machine may share.

    Where the system does not list what is mounted, as on macOS, nothing is checked.
    """
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            mounts = file.read()
    except OSError:
        return
    kind = find_file_system(os.path.realpath(path), mounts)
    if kind in NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), on which SQLite loses data where two machines use it; put "
            "it on a local disk"
        )
    if kind in UNCERTAIN:
        logger.warning("%s is on %s: its data is safe only while no other machine uses the file", path, kind)


def find_file_system(path: str, mounts: str) -> str:
    """Return the type of the file system of a path.

    Args:
        path: an absolute path.
        mounts: the content of ``/proc/self/mounts``.
    """
    found, longest = "", -1
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        prefix = point.rstrip("/") + "/"
        # Of two on the same point the later one covers the earlier one.
        if (path == point or path.startswith(prefix)) and len(point) >= longest:
            found, longest = fields[2], len(point)
    return found
