"""The masks of frames from clients: each function that may be installed, and keys that no peer can predict."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.utils import apply_mask as documented

from owlsocket_sync.transport import masking
from owlsocket_sync.transport.framing import ClientFraming
from owlsocket_sync.transport.masking import apply_mask, apply_mask_in_python, find_apply_mask, new_mask_keys
from owlsocket_sync.transport.stream import DuplexStream
from support.sockets import TEXT


def xor(data: Any, key: bytes) -> bytes:
    """Section 5.3, word for word."""
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(bytes(data)))


@pytest.mark.parametrize("function", [apply_mask, apply_mask_in_python])
@given(data=st.binary(max_size=300), key=st.binary(min_size=4, max_size=4), start=st.integers(0, 9))
@example(data=b"", key=b"abcd", start=0)
def test_masks_are_those_of_the_standard(function: masking.ApplyMask, data: bytes, key: bytes, start: int) -> None:
    """Of any size, from any place of a buffer, and of a copy; twice is once too often."""
    view = memoryview(data)[start:]
    masked = function(view, key)
    assert type(masked) is bytes
    assert masked == function(data[start:], key) == xor(view, key) == documented(data[start:], key)
    assert function(masked, key) == data[start:]


def test_a_large_payload_is_masked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind its header, as in one piece, and no piece is larger than what the cache holds."""
    sizes: list[int] = []

    def mask(data: masking.BytesLike, key: bytes) -> bytes:
        sizes.append(len(data))
        return apply_mask_in_python(data, key)

    monkeypatch.setattr(masking, "apply_mask", mask)
    payload = bytes(place % 251 for place in range(3 * masking.PIECE_SIZE - 5))
    assert masking.append_masked(b"header", payload, b"abcd") == b"header" + apply_mask_in_python(payload, b"abcd")
    assert sizes == [masking.PIECE_SIZE, masking.PIECE_SIZE, masking.PIECE_SIZE - 5]


def test_the_compiled_function_of_websockets_is_used_without_its_package() -> None:
    """It is installed here; where it is not, the same frames are masked in Python."""
    assert type(apply_mask).__name__ == "builtin_function_or_method"
    assert find_apply_mask() is not apply_mask_in_python


def _without_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str, path: object = None) -> None:
        assert name == "websockets"

    monkeypatch.setattr(PathFinder, "find_spec", find_spec)


def test_wsaccel_comes_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where websockets is not installed and wsaccel is, it masks."""

    class XorMaskerSimple:
        def __init__(self, key: bytes) -> None:
            self._key = key

        def process(self, data: bytes) -> bytes:
            return b"by wsaccel: " + xor(data, self._key)

    module: Any = ModuleType("wsaccel.xormask")
    module.XorMaskerSimple = XorMaskerSimple
    monkeypatch.setitem(sys.modules, "wsaccel", ModuleType("wsaccel"))
    monkeypatch.setitem(sys.modules, "wsaccel.xormask", module)
    assert find_apply_mask()(b"x", b"\1\0\0\0") != b"by wsaccel: y"
    _without_websockets(monkeypatch)
    assert find_apply_mask()(b"x", b"\1\0\0\0") == b"by wsaccel: y"


@pytest.mark.parametrize("broken", [None, ModuleType("wsaccel.xormask")], ids=["absent", "of another version"])
def test_nothing_compiled_is_needed(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    """Where neither is installed, or what is there is something else, the interpreter masks."""
    _without_websockets(monkeypatch)
    monkeypatch.setitem(sys.modules, "wsaccel", broken and ModuleType("wsaccel"))
    monkeypatch.setitem(sys.modules, "wsaccel.xormask", broken)
    assert find_apply_mask() is apply_mask_in_python


def test_each_frame_has_a_key_of_its_own() -> None:
    """A thousand frames, several blocks of keys: no key comes twice, and each unmasks its own frame (section 5.3)."""
    framing = ClientFraming(cast(DuplexStream, None), 100)
    frames = [framing.frame(TEXT, b"payload") for _ in range(1000)]
    keys = [frame[2:6] for frame in frames]
    assert len(set(keys)) == len(keys)
    assert {xor(frame[6:], frame[2:6]) for frame in frames} == {b"payload"}


def test_keys_come_from_the_random_source_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks, each asked for once; every byte of a block is used once."""
    blocks: list[bytes] = []

    def urandom(size: int) -> bytes:
        blocks.append(bytes((len(blocks) * size + place) % 256 for place in range(size)))
        return blocks[-1]

    monkeypatch.setattr(masking, "urandom", urandom)
    framing = ClientFraming(cast(DuplexStream, None), 100)
    count = len(new_mask_keys())
    blocks.clear()
    keys = {framing.frame(TEXT, b"")[2:6] for _ in range(count)}
    assert keys == {blocks[0][start : start + 4] for start in range(0, len(blocks[0]), 4)}
    assert len(blocks) == 1
    framing.frame(TEXT, b"")
    assert len(blocks) == 2


def test_links_share_no_keys() -> None:
    """So a forked child, which makes links of its own, repeats no key of its parent."""
    first, second = (ClientFraming(cast(DuplexStream, None), 100) for _ in range(2))
    for framing in (first, second):
        framing.frame(TEXT, b"")
    assert not {*first._mask_keys} & {*second._mask_keys}
