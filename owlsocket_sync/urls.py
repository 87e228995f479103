"""Addresses: taken apart, given a token, and made fit to be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

TOKEN_SCHEME = "ED25519-BASIC-TOKEN"
SECRET_KEYS = frozenset(
    {"token", "access_token", "auth", "authorization", "key", "api_key", "apikey", "password", "secret"}
)

# Patterns are compiled on first use: most of them serve what is refused, or what most connections never have.
_CONTROL = r"[\x00-\x20\x7f]"
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"
_HEADER_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"
_ENVELOPE = r"(?i:(ED25519-BASIC-(?:TOKEN|SIGNATURE)\s+|Bearer\s+|Basic\s+)\S+)"
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


class Target(NamedTuple):
    """Where to connect to, in the parts that a handshake needs."""

    scheme: str
    host: str
    port: int
    resource: str

    @property
    def secure(self) -> bool:
        """Whether the link is encrypted."""
        return self.scheme == "wss"

    @property
    def host_header(self) -> str:
        """The ``Host`` header (RFC 9110, section 7.2): the port only where it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """All of it in one, secrets included."""
        return f"{self.scheme}://{self.host_header}{self.resource}"

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine."""
        return is_loopback(self.host)

    def __repr__(self) -> str:
        return f"Target({redact(self.url)!r})"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def parse_base(url: str, option: str) -> tuple[str, str]:
    """Take the ``http://`` or ``https://`` URL of a service apart: the URL without its last slash, and its host.

    Raises:
        ValueError: it cannot be used; the message names the option, and holds no secret.
    """
    if not isinstance(url, str) or re.search(_CONTROL, url) or not _is_encodable(url, "utf-8"):
        raise ValueError(f"{option} must be a URL such as 'https://host/path', without spaces or control characters")
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        fits = None
    if not fits or parts.query or parts.fragment:
        raise ValueError(f"{option} must be http:// or https:// with a host, and neither user, query nor fragment")
    return url.rstrip("/"), parts.hostname or ""


def parse(url: str, query: Mapping[str, str] | None = None, token: str | None = None) -> Target:
    """Take a ``ws://`` or ``wss://`` URL apart, with ``query`` and ``token`` added to its query string.

    Raises:
        ValueError: the URL cannot be used; the message says why and never holds a secret.
    """
    if not isinstance(url, str):
        raise ValueError(f"url must be text such as 'wss://host/path', not {type(url).__name__}")
    if re.search(_CONTROL, url):
        origin = redact(re.sub(_CONTROL, "", url)).split("/", 3)[
            :3
        ]  # a password with a slip in it may stand in the path
        raise ValueError(f"url must not hold spaces or control characters: {'/'.join(origin)!r}")
    pairs = [*(query or {}).items(), *([("token", token)] if token is not None else [])]
    if not all(_is_encodable(text, "utf-8") for text in (url, *(part for pair in pairs for part in pair))):
        raise ValueError("url, query and token must not hold half a surrogate pair")
    shown = redact(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its words may hold a part of a password
        raise ValueError(
            f"url {shown!r} cannot be read: a port is a number up to 65535, an IPv6 address stands in brackets"
        ) from None
    if parts.scheme not in _DEFAULT_PORTS:
        found = f"{parts.scheme}:" if parts.scheme else "no scheme at all"
        raise ValueError(f"url must start with ws:// or wss://, not with {found}: {shown!r}")
    if not parts.hostname:
        raise ValueError(f"url must name a host: {shown!r}")
    if parts.username is not None:
        raise ValueError(f"url must not hold a user name or password, use token= or headers= instead: {shown!r}")
    if port == 0:
        raise ValueError(f"url must not have port 0: {shown!r}")
    added = urlencode(pairs, quote_via=quote)
    resource = _ascii(parts.path or "/")
    if parts.query or added:
        resource += "?" + "&".join(part for part in (_ascii(parts.query), added) if part)
    return Target(parts.scheme, _ascii_host(parts.hostname, shown), port or _DEFAULT_PORTS[parts.scheme], resource)


def _ascii(text: str) -> str:
    return quote(text, safe="!#$%&'()*+,/:;=?@[]~")


def _ascii_host(host: str, shown: str) -> str:
    if host.isascii():
        return host
    try:
        encoded = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"url {shown!r} has a host name that cannot be written in ASCII: {error}") from None
    if re.search(_CONTROL, encoded):  # IDNA takes some letters apart into a space and a mark
        raise ValueError(f"url {shown!r} has a host name with a space in it, once it is written in ASCII")
    return encoded


def redact(url: str) -> str:
    """The URL as logs and people may see it: passwords and tokens replaced by ``***``."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is the beginning of a password with a "/" in it
    except ValueError:
        return "***"
    if not parts.netloc and "@" in url:
        return "***"  # a slash is missing, so what stands before the "@" is in the path
    place = parts.netloc.rpartition("@")
    netloc = f"***@{place[2]}" if place[1] else parts.netloc
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if any(key.lower() in SECRET_KEYS for key, _ in pairs):
        hidden = [(key, "***" if key.lower() in SECRET_KEYS else value) for key, value in pairs]
        return urlunsplit((parts.scheme, netloc, parts.path, urlencode(hidden, safe="*", errors="replace"), ""))
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))


def secrets_of(resource: str) -> list[str]:
    """The values in a query that nobody may see."""
    pairs = parse_qsl(urlsplit(resource).query, keep_blank_values=True)
    return [value for key, value in pairs if key.lower() in SECRET_KEYS and value]


def redact_text(text: str, *secrets: str | None) -> str:
    """``text`` with these secrets, and what looks like a credential in a header, replaced by ``***``."""
    for secret in secrets:
        if secret:
            for form in (secret, quote(secret), quote(secret, safe=""), unquote(secret)):
                text = text.replace(form, "***")
    return re.sub(_ENVELOPE, r"\1***", text)


def bare_token(token: str) -> str:
    """The envelope alone, as the query carries it."""
    scheme, _, envelope = token.strip().partition(" ")
    return envelope.strip() if scheme.upper() == TOKEN_SCHEME else token.strip()


def whole_token(token: str) -> str:
    """The envelope behind its scheme, as the ``Authorization`` header carries it."""
    return f"{TOKEN_SCHEME} {bare_token(token)}"


def check_headers(headers: Mapping[str, str], option: str = "headers") -> dict[str, str]:
    """Return the headers as a dict when each can travel (RFC 9110, section 5.5).

    Raises:
        ValueError: a name or a value holds what would break out of its line; the value is not shown.
    """
    checked = {}
    for name, value in dict(headers).items():
        if not isinstance(name, str) or not re.match(_HEADER_NAME, name):
            raise ValueError(f"{option}: {name!r} is no header name")
        if not isinstance(value, str) or re.search(_HEADER_CONTROL, value) or not _is_encodable(value, "latin-1"):
            raise ValueError(f"{option}: the value of {name!r} must be Latin-1 text without control characters")
        checked[name] = value
    return checked


def _is_encodable(text: str, encoding: str) -> bool:
    """Whether text can be written so; half a surrogate pair never can, neither in a URL nor in UTF-8."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
