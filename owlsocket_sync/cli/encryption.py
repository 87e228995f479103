"""TLS as the options want it: whom we trust, and who we are."""

from __future__ import annotations

import ssl
from pathlib import Path

import click

from .outcome import warn


def client_context(
    url: str, ca: Path | None, cert: Path | None, key: Path | None, insecure: bool
) -> ssl.SSLContext | None:
    """What ``wss://`` needs beyond the default, which ``None`` stands for.

    Raises:
        click.UsageError: the options contradict each other, or a file cannot be used.
    """
    if not (ca or cert or key or insecure):
        return None
    if not url.startswith("wss:"):
        raise click.UsageError("--ca, --cert, --key and --insecure are for wss:// URLs; this one is not encrypted")
    if ca and insecure:
        raise click.UsageError("--ca and --insecure exclude each other: an authority is trusted to check, or none is")
    if key and not cert:
        raise click.UsageError("--key needs --cert")
    context = ssl.create_default_context(cafile=None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        context = _trusting(ca)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        warn("the certificate is not checked: whoever is on the way can read and change everything, tokens included")
    if cert:
        load_pair(context, cert, key)
    return context


def server_context(cert: Path, key: Path | None) -> ssl.SSLContext:
    """What a server shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, cert, key)
    return context


def _trusting(ca: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError:
        raise click.UsageError(f"--ca: {ca} holds no certificate in PEM") from None
    except OSError as error:
        raise click.UsageError(f"--ca: {ca}: {error.strerror}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_pair(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Show this certificate."""
    where = f"--cert: {cert}" if key is None else f"--cert, --key: {cert}, {key}"
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError:
        raise click.UsageError(f"{where}: a certificate and its key in PEM, without a password, are needed") from None
    except OSError as error:
        raise click.UsageError(f"{where}: {error.strerror}") from None


def _no_password() -> str:
    """A key under a password is refused; without this, OpenSSL would ask for it on the terminal."""
    return ""
