"""The number of a message: written behind all other keys, and read wherever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from owlsocket_sync import SocketMessageMalformed
from owlsocket_sync.protocol.codec import encode
from owlsocket_sync.protocol.json_values import from_json, to_json
from owlsocket_sync.protocol.messages import Message
from owlsocket_sync.protocol.numbered import encode_stored, read_number, write_number


@pytest.mark.parametrize("payload", [None, 0, "", [], {"seq": 3}, "żółć 🦉", 2**70, 1.5, "\ud800"], ids=ascii)
def test_a_stored_message_is_encoded_as_one_that_is_sent_at_once(payload: Any) -> None:
    """Byte for byte, with the keys in the order of the reference; then comes the number."""
    message = Message(payload=payload, id="a", dt=1.5, sender="me")
    data = encode_stored(to_json(payload), "a", 1.5, "me")
    assert json.loads(data) == json.loads(encode(message))
    assert list(json.loads(data)) == list(json.loads(encode(message)))
    numbered = write_number(data, 7)
    assert json.loads(numbered) == {**json.loads(data), "seq": 7}
    assert read_number(numbered.decode()) == 7


@pytest.mark.parametrize(
    "text",
    [
        None,
        '{"type":"message","payload":1}',
        '{"type":"message","payload":{"seq":1}}',
        '{"type":"message","payload":"\\"seq\\""}',
        '{"type":"message","payload":1,"seq":0}',
        '{"type":"message","payload":1,"seq":true}',
        '{"type":"message","payload":1,"seq":"1"}',
        '{"type":"message","payload":1,"seq":9007199254740992}',
        '["seq"]',
        '{"seq":1',
    ],
    ids=str,
)
def test_anything_else_is_no_number(text: str | None) -> None:
    """Such a message is one of a peer that numbers nothing."""
    assert read_number(text) is None


@pytest.mark.parametrize("payload", [b"", b"{", b"nope", b"\xff"], ids=str)
def test_what_is_no_json_is_refused(payload: bytes) -> None:
    """Another program may have written it: it would break the frame."""
    with pytest.raises(SocketMessageMalformed, match="not JSON"):
        encode_stored(payload, "a", None, None)


def test_a_text_that_is_no_utf8_is_sent_as_it_is_read() -> None:
    """The peer would take the frame for broken, end the link, and get the message again on the next one."""
    data = encode_stored(b'"\xff"', "a", None, None)
    assert json.loads(data.decode())["payload"] == from_json(b'"\xff"') == "\ufffd"
