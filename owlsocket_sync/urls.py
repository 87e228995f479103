"""URLs: parsed, extended by a token, and redacted for logs; the scheme of tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from .handshake_fields import Query, check_query, is_encodable
from .values import Secret

TOKEN_SCHEME = "ED25519-BASIC-TOKEN"
SECRET_KEYS = frozenset(
    "token access_token auth authorization key api_key apikey access_key password passwd secret ticket jwt session sid "
    "signature sig code credential x-amz-signature x-amz-security-token".split()
)
"""Names of secrets, for warnings about them. What is shown follows `PUBLIC_KEYS`: no list of bad names is complete."""
PUBLIC_KEYS = frozenset(
    "v version api-version api_version lang language locale format encoding protocol transport client platform debug "
    "page limit offset".split()
)
"""The parameters of a query whose values are shown."""
MIN_SECRET = 8
"""Characters of a value that is replaced in texts of a peer, unless its name says that it is a secret.

Replacing a short one, such as ``1``, would only make these texts unreadable.
"""


# Patterns are texts, compiled at their first use: most of them serve errors, or options that most connections lack.
_CONTROL = r"[\x00-\x20\x7f]"
_PLAIN_PORT = r"wss?://[\w.-]+:\d+(?=[/?#]|\Z)(?!.*@)"
_PLAIN_VALUE = r"[\w.,~-]{0,32}\Z"
_ZONE = r"[0-9A-Za-z._~-]+\Z"
_ENVELOPE = r"(?i:(ED25519-BASIC-(?:TOKEN|SIGNATURE)\s+|Bearer\s+|Basic\s+)\S+)"
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


class Target(NamedTuple):
    """The address of a server, in the parts that a handshake needs."""

    scheme: str
    host: str
    port: int
    resource: str

    @property
    def secure(self) -> bool:
        """Return whether the link is encrypted."""
        return self.scheme == "wss"

    @property
    def host_header(self) -> str:
        """Return the value of the ``Host`` header (RFC 9110, section 7.2)."""
        return self._authority(self.server_name)

    @property
    def server_name(self) -> str:
        """Return the host as other machines know it: without the zone of an IPv6 address."""
        # A zone names an interface of this machine (RFC 6874, section 3): it means nothing to a server or a proxy.
        return self.host.partition("%")[0]

    def _authority(self, host: str) -> str:
        # Without the default port: servers compare the header with the origin, which has none either (RFC 6454, 6.2).
        host = f"[{host}]" if ":" in host else host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the whole URL, secrets included."""
        return f"{self.scheme}://{self._authority(self.host.replace('%', '%25'))}{self.resource}"

    @property
    def loopback(self) -> bool:
        """Return whether the host is this machine."""
        return is_loopback(self.host)

    def __repr__(self) -> str:
        # A target is a local variable of many frames, which tracebacks and error trackers show.
        return f"Target({redact(self.url)!r})"


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address, without brackets, means this machine wherever it is resolved."""
    # RFC 6761, section 6.3: names under localhost resolve to loopback addresses only.
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def parse_base(url: str, option: str) -> tuple[str, str]:
    """Parse the ``http://`` or ``https://`` URL of a service.

    Args:
        url: the URL.
        option: the name of the option, for the error.

    Returns:
        The URL without a trailing slash, and its host.

    Raises:
        ValueError: the URL is not valid; the message contains no secret.
    """
    if not isinstance(url, str) or re.search(_CONTROL, url) or not is_encodable(url, "utf-8"):
        raise ValueError(f"{option} must be a URL such as 'https://host/path', without spaces or control characters")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        valid = None
    if not valid or parts.query or parts.fragment:
        raise ValueError(f"{option} must be http:// or https:// with a host, without user, query and fragment")
    return url.rstrip("/"), parts.hostname or ""


def split_proxy(proxy: str, option: str = "proxy", schemes: Sequence[str] = ("http",)) -> SplitResult:
    """Split the URL of a proxy, ``http://[user:password@]host:port``.

    Args:
        proxy: the URL; without a scheme it is read as ``http://``, as curl and requests do.
        option: the name of the option or of the environment variable, for the error.
        schemes: those that the URL may have.

    Raises:
        ValueError: it is not such a URL; the message does not contain the password.
    """
    if not isinstance(proxy, str) or re.search(_CONTROL, proxy):
        raise ValueError(f"{option} must be a URL such as 'http://host:port', without spaces or control characters")
    try:
        # "localhost:3128" alone would be a URL of the scheme "localhost".
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy.removeprefix('//')}")
        parts.port  # noqa: B018 - reading it raises where it is not a port
    except ValueError:
        # From None: the error of urlsplit contains the URL, and with it the password.
        raise ValueError(f"{option} must be a URL such as 'http://user:password@host:port'") from None
    if parts.scheme not in schemes or not parts.hostname:
        expected = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"{option} must be an {expected} URL with a host, not a {parts.scheme}:// one")
    return parts


def parse(url: str, query: Query | None = None, token: str | None = None) -> Target:
    """Parse a ``ws://`` or ``wss://`` URL.

    Args:
        url: the URL; it may have a query string.
        query: parameters that are added to the query string, as `check_query` accepts them.
        token: is added to the query string as ``token``.

    Raises:
        ValueError: the URL is not valid; the message gives the reason, and contains no secret.
    """
    if not isinstance(url, str):
        raise ValueError(f"url must be text such as 'wss://host/path', not {type(url).__name__}")
    if re.search(_CONTROL, url):
        # Scheme and host alone: a mistyped separator may have put a password or a token into the path.
        origin = "/".join(redact(re.sub(_CONTROL, "", url)).split("/", 3)[:3])
        raise ValueError(f"url must not contain spaces or control characters: {origin!r}")
    pairs = [*check_query(query), *([("token", token)] if token is not None else [])]
    if not all(is_encodable(text, "utf-8") for text in (url, *(part for pair in pairs for part in pair))):
        raise ValueError("url, query and token must not contain lone surrogates")
    # Every message below shows this and not the URL.
    redacted = redact(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # Not chained: the text of urlsplit's error may contain a part of a password.
        address = re.match(_PLAIN_PORT, url)
        if address is not None:  # host and port alone: without "@" they are not a name and a password
            raise ValueError(f"url {address[0]!r} has a port out of range: a port is a number up to 65535") from None
        raise ValueError(
            f"url {redacted!r} cannot be parsed: a port is a number up to 65535, an IPv6 address is in brackets"
        ) from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError(f"url must start with ws:// or wss://: {redacted!r}")
    if not parts.hostname:
        raise ValueError(f"url must have a host: {redacted!r}")
    if parts.username is not None:
        raise ValueError(f"url must not contain a user name or password, use token= or headers= instead: {redacted!r}")
    if port == 0:
        raise ValueError(f"url must not have port 0: {redacted!r}")
    # quote, not the default quote_plus: "+" for a space is a convention of HTML forms, and a token may contain "+".
    added = urlencode(pairs, quote_via=quote)
    resource = _ascii(parts.path or "/")
    if parts.query or added:
        resource += "?" + "&".join(part for part in (_ascii(parts.query), added) if part)
    return Target(parts.scheme, _ascii_host(parts.hostname, redacted), port or _DEFAULT_PORTS[parts.scheme], resource)


def _ascii(text: str) -> str:
    # "%" is safe, so that what is percent-encoded already stays as it is.
    return quote(text, safe="!#$%&'()*+,/:;=?@[]~")


def _ascii_host(host: str, redacted: str) -> str:
    if ":" in host and "%" in host:
        host = decode_zone(host)
        if not re.match(_ZONE, host.partition("%")[2]):
            raise ValueError(f"url {redacted!r} has an IPv6 zone that is not the name or number of an interface")
    if host.isascii():
        return host
    try:
        encoded = host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"url {redacted!r} has a host name that cannot be encoded in ASCII: {error}") from None
    # IDNA decomposes some letters into a space and a mark, which would split the request line (RFC 9112, section 3).
    if re.search(_CONTROL, encoded):
        raise ValueError(f"url {redacted!r} has a host name with a space in its ASCII form")
    return encoded


def decode_zone(host: str) -> str:
    """Return an IPv6 address with its zone, such as ``fe80::1%eth0``, from its form in a URL (RFC 6874)."""
    address, percent, zone = host.partition("%")
    # In a URL the "%" before the zone is percent-encoded; a plain one is what people paste.
    return f"{address}{percent}{unquote(zone.removeprefix('25') or zone)}"


def redact(url: str) -> str:
    """Return the URL with passwords and tokens replaced by ``***``, for logs and messages."""
    try:
        parts = urlsplit(url)
        # In ws://user:pa/ss@host the "port" is the beginning of the password: reading it raises.
        parts.port  # noqa: B018
    except ValueError:
        return "***"
    # In ws:/user:password@host a slash is missing, and the password is in the path.
    if not parts.netloc and "@" in url:
        return "***"
    place = parts.netloc.rpartition("@")
    netloc = f"***@{place[2]}" if place[1] else parts.netloc
    query = "&".join(map(_redact_parameter, parts.query.split("&")))
    return urlunsplit((parts.scheme, netloc, parts.path, query, ""))


def _redact_parameter(parameter: str) -> str:
    key, equals, value = parameter.partition("=")
    # Some servers split a query at ";" too: a value with anything but plain characters is not shown.
    if not parameter or (unquote(key).lower() in PUBLIC_KEYS and re.match(_PLAIN_VALUE, value)):
        return parameter
    # Without "=", the parameter may be a token as it is.
    return f"{key}={value and '***'}" if equals else "***"


def secrets_of(resource: str) -> list[str]:
    """Return the values in a query string that texts must not repeat, decoded."""
    pairs = parse_qsl(urlsplit(resource).query, keep_blank_values=True)
    # A parameter without "=" is a key to the parser.
    values = [(key, value or key) for key, value in pairs if key.lower() not in PUBLIC_KEYS]
    return [value for key, value in values if len(value) >= MIN_SECRET or (key.lower() in SECRET_KEYS and value != key)]


def names_secret(url: str) -> bool:
    """Return whether the name of a query parameter says that its value is a secret."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return any(key.lower() in SECRET_KEYS and value for key, value in pairs)


def redact_text(text: str, *secrets: str | None) -> str:
    """Return a text with the secrets, and anything like a credential of a header, replaced by ``***``.

    Args:
        text: a text from a peer or from a library.
        *secrets: the values to replace; ``None`` and empty ones are skipped.
    """
    for secret in secrets:
        if secret:
            # A server may repeat a request in any of the forms in which a secret travels.
            for form in (secret, quote(secret), quote(secret, safe=""), unquote(secret)):
                text = text.replace(form, "***")
    return re.sub(_ENVELOPE, r"\1***", text)


def strip_token_scheme(token: str) -> Secret:
    """Return the envelope without its scheme, as the query string carries it."""
    scheme, _, envelope = token.strip().partition(" ")
    return Secret(envelope.strip() if scheme.upper() == TOKEN_SCHEME else token.strip())


def with_token_scheme(token: str) -> Secret:
    """Return the envelope with its scheme, as the ``Authorization`` header carries it."""
    return Secret(f"{TOKEN_SCHEME} {strip_token_scheme(token)}")
