"""The masks of frames from clients (RFC 6455, section 5.3): their keys, and how a payload is masked.

Masking is its own inverse. It is done in C where websockets or wsaccel is installed; neither is required.

Threads: nothing here has state.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from io import BytesIO
from os import urandom
from struct import Struct
from typing import Any

BytesLike = bytes | memoryview
ApplyMask = Callable[[BytesLike, bytes], bytes]

KEY_SIZE = 4
PIECE_SIZE = 65_536
KEYS_OF_A_BLOCK = Struct(f"{KEY_SIZE}s" * 32)


def new_mask_keys() -> tuple[bytes, ...]:
    """Return keys that no peer can predict (sections 5.3 and 10.3), from the random source of the system."""
    # In blocks: a system call for each frame would cost as much as all the rest of its encoding.
    return KEYS_OF_A_BLOCK.unpack(urandom(KEYS_OF_A_BLOCK.size))


def apply_mask_in_python(data: BytesLike, key: bytes) -> bytes:
    """Return ``data``, masked with the four bytes of ``key``."""
    size = len(data)
    keys = (key * (size // KEY_SIZE + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(size, "little")


def append_masked(header: bytes, payload: BytesLike, key: bytes) -> bytes:
    """Return ``header``, and after it ``payload``, masked; for large payloads."""
    # In pieces that fit into the cache: a masked copy of the whole is a second large block, whose pages the system maps
    # again for each message, which takes far longer than masking.
    buffer, view = BytesIO(), memoryview(payload)
    # The whole size from the beginning: growing it would move it.
    buffer.seek(len(header) + len(view) - 1)
    buffer.write(b"\0")
    buffer.seek(0)
    buffer.write(header)
    for start in range(0, len(view), PIECE_SIZE):
        buffer.write(apply_mask(view[start : start + PIECE_SIZE], key))
    return buffer.getvalue()


def find_apply_mask() -> ApplyMask:
    """Return the fastest function that is installed with the arguments of `apply_mask_in_python`."""
    for find in (_find_websockets, _find_wsaccel):
        try:
            return find()
        except (ImportError, AttributeError):
            continue
    return apply_mask_in_python


def _find_websockets() -> ApplyMask:
    # The one module alone, as one of ours: its package imports the metadata of distributions, and takes longer than all
    # of this package.
    package = PathFinder.find_spec("websockets")
    folders = package and package.submodule_search_locations
    spec = PathFinder.find_spec(f"{__package__}.speedups", folders) if folders else None
    if spec is None or spec.loader is None:
        raise ImportError("websockets.speedups is not installed")
    module: Any = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: ApplyMask = module.apply_mask
    return found


def _find_wsaccel() -> ApplyMask:
    from wsaccel.xormask import XorMaskerSimple

    return lambda data, key: XorMaskerSimple(key).process(data)


apply_mask = find_apply_mask()
