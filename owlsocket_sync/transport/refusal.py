"""The error for an HTTP response that refuses an upgrade, and where such a response ends."""

from __future__ import annotations

import re

from ..errors import SEPARATOR, AuthError, ResilientError, SocketConnectionError, SocketUnauthorized
from ..errors.http_status import is_final, parse_retry_after
from ..urls import redact, redact_text
from ..values import escape_for_log

MAX_ERROR_TEXT = 200
UNAUTHORIZED = (401, 403)
SERVER_ERROR = 500

# Compiled when a response is refused: most connections never need these patterns.
_RESPONSE = rb"(?s)HTTP/1\.\d ([2-5]\d\d)\b([^\n]*\n(?:[^\r\n][^\n]*\n)*)\r?\n(.*)"
_HEADER = rb"(?im)^%s:(.*)$"
_CHUNK = rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n"


def parse_refusal(response: bytes | bytearray, secrets: list[str]) -> SocketConnectionError | AuthError | None:
    """Return the error that an HTTP response means, ``None`` if the bytes are not an HTTP response.

    Args:
        response: the bytes that were received, cut or not.
        secrets: the secrets of the request: a server may repeat them in its response.
    """
    match = re.match(_RESPONSE, response)
    if match is None:
        return None
    status, head = int(match[1]), match[2]
    raw = decode_chunks(match[3])[0] if _is_chunked(head) else match[3]
    body = redact_text(raw.decode("utf-8", "replace"), *secrets)
    location = header_value(head, b"location")
    redirect = None if location is None else redact_text(redact(location), *secrets)
    error = _marshalled(status, body) or _plain(status, _readable(status, head, body), redirect)
    error.status = status
    error.retry_after = parse_retry_after(header_value(head, b"retry-after"))
    # The status, not the marshalled type, decides whether to retry. Only 500 does not tell: services of the reference
    # answer so where they refuse an identity.
    error.retryable = not is_final(status) and not (status == SERVER_ERROR and isinstance(error, AuthError))
    return error


def is_whole(response: bytes | bytearray) -> bool:
    """Return whether a refusal has all of its body (RFC 9112, section 6.3); true of anything else than a refusal."""
    match = re.match(_RESPONSE, response)
    if match is None:
        return True
    if _is_chunked(match[2]):
        return decode_chunks(match[3])[1]
    length = header_value(match[2], b"content-length") or ""
    # Without a length the body reaches to the end of the stream.
    return length.isdecimal() and len(match[3]) >= int(length[:9])


def decode_chunks(body: bytes) -> tuple[bytes, bool]:
    """Return the data of a chunked body as far as it goes, and whether that is all (RFC 9112, section 7.1)."""
    data, position, size_line = bytearray(), 0, re.compile(_CHUNK)
    while found := size_line.match(body, position):
        size, position = int(found[1], 16), found.end()
        if not size:
            return bytes(data), True
        data += body[position : position + size]
        position += size
        position += len(b"\r\n") if body[position : position + 1] == b"\r" else 1
    return bytes(data), False


def _is_chunked(head: bytes) -> bool:
    return (header_value(head, b"transfer-encoding") or "").lower().endswith("chunked")


def header_value(head: bytes, name: bytes) -> str | None:
    """Return the value of a header field, if the response has it."""
    found = re.search(_HEADER % name, head)
    # Stripped here: as a part of the pattern, a row of blanks would take quadratic time.
    return found[1].strip().decode("utf-8", "replace") if found else None


def _marshalled(status: int, body: str) -> SocketConnectionError | AuthError | None:
    """Return the error that the body marshals; one outside of the classes that `connect` raises becomes the cause."""
    if SEPARATOR not in body:
        return None
    error = ResilientError.unmarshal(body)
    if isinstance(error, (SocketConnectionError, AuthError)):
        if status in UNAUTHORIZED:
            error.code = AuthError.code
        return error
    refusal = _class_for(status)(f"{_summary(status)}: {escape_for_log(str(error)[:MAX_ERROR_TEXT])}")
    refusal.__cause__ = error
    return refusal


def _readable(status: int, head: bytes, body: str) -> str:
    """Return the text of a body; of a page in HTML, its title where that says more than the status line."""
    if not body.lstrip().startswith("<"):
        return body
    # Such as nginx, whose 400 stands for a missing client certificate, or for HTTP on a port with TLS.
    found = re.search(rf"(?i)<title>\s*(?:{status}\b)?([^<]*)", body)
    title = found[1].strip() if found else ""
    reason = head.split(b"\n", 1)[0].strip().decode("latin-1")
    return "" if title.lower() == reason.lower() else title


def _plain(status: int, body: str, redirect: str | None) -> SocketConnectionError:
    text = _summary(status)
    if body.strip():
        text += f": {escape_for_log(' '.join(body.split())[:MAX_ERROR_TEXT])}"
    return _class_for(status)(text + redirect_text(status, redirect))


def redirect_text(status: int, location: str | None) -> str:
    """Return the end of the text of a refusal that is a redirect, with its target, from which secrets were removed."""
    if not 300 <= status < 400:
        return ""
    where = f"to {location[:MAX_ERROR_TEXT]!r}" if location else "without a Location header"
    return f" (redirect {where}; redirects are not followed)"


def _summary(status: int) -> str:
    return f"the server rejected the WebSocket handshake with HTTP {status}"


def _class_for(status: int) -> type[SocketConnectionError]:
    return SocketUnauthorized if status in UNAUTHORIZED else SocketConnectionError
