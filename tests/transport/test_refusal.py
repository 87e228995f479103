"""`refusal`: the header fields of a response that refuses a client."""

from __future__ import annotations

from owlsocket_sync.transport.refusal import header_value


def test_a_field_is_found_whatever_surrounds_it() -> None:
    """Without the blanks around its value, and by its name in any case."""
    head = b"HTTP/1.1 302 Found\r\nX-Location: no\r\nlocation: \t /there \r\nRetry-After:5\r\nEmpty:\r\n\r\n"
    assert header_value(head, b"Location") == "/there"
    assert header_value(head, b"Retry-After") == "5"
    assert header_value(head, b"Empty") == ""
    assert header_value(head, b"Missing") is None


def test_a_megabyte_of_blanks_is_read_in_linear_time() -> None:
    """In quadratic time, this would take hours."""
    blanks = b" " * 2**20
    assert header_value(b"HTTP/1.1 302 Found\r\nLocation:" + blanks + b"x" + blanks + b"\r\n\r\n", b"Location") == "x"
