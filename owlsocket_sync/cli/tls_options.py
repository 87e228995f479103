"""TLS contexts from the options of a command."""

from __future__ import annotations

import ssl
from pathlib import Path

import click

from .output import print_warning


def client_context(
    url: str, ca: Path | None, cert: Path | None, key: Path | None, insecure: bool
) -> ssl.SSLContext | None:
    """Return the context for a ``wss://`` URL, ``None`` for the default.

    Raises:
        click.UsageError: the options contradict each other, or a file cannot be used.
    """
    if not (ca or cert or key or insecure):
        return None
    if not url.startswith("wss:"):
        raise click.UsageError("--ca, --cert, --key and --insecure are for wss:// URLs; this URL is not encrypted")
    if ca and insecure:
        raise click.UsageError("--ca and --insecure exclude each other: a certificate is verified, or it is not")
    if key and not cert:
        raise click.UsageError("--key needs --cert")
    context = _trusting(ca) if ca else ssl.create_default_context()
    # Some systems' OpenSSL configuration allows older versions.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        # In this order: ssl refuses CERT_NONE while check_hostname is set.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        print_warning(
            "the certificate is not verified: anyone between you and the server can read and change all traffic, "
            "tokens included"
        )
    if cert:
        load_pair(context, cert, key)
    return context


def server_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """Return the context of a server with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, cert, key)
    return context


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    # SSLError is a subclass of OSError: it must come first.
    except ssl.SSLError:
        raise click.UsageError(f"--ca: {ca} holds no certificate in PEM") from None
    except OSError as error:
        raise click.UsageError(f"--ca: {ca}: {error.strerror}") from None


def load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Load a certificate and its key into a context."""
    where = f"--cert: {cert}" if key is None else f"--cert, --key: {cert}, {key}"
    try:
        # Without a callable for the password, OpenSSL would ask for it on the terminal, and a script would hang.
        context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError:
        raise click.UsageError(f"{where}: a certificate and its key in PEM, without a password, are needed") from None
    except OSError as error:
        raise click.UsageError(f"{where}: {error.strerror}") from None
