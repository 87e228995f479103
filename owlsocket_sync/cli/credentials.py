"""Tokens and keys from environment variables and files; a token on the command line works too, with a warning."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .output import print_warning


def read_token(token: str | None, variable: str | None, file: Path | None) -> str | None:
    """Return the token from ``--token``, ``--token-env`` or ``--token-file``, or ``None``."""
    if token is None:
        return read_secret(variable, file, "token")
    if variable or file:
        raise click.UsageError("--token excludes --token-env and --token-file")
    if not token.strip():
        raise click.UsageError("--token: it is empty")
    warn_exposed_secret("the token")
    return token.strip()


def warn_exposed_secret(secret: str, instead: str = "use --token-env or --token-file") -> None:
    """Warn that a secret is on the command line."""
    # /proc/PID/cmdline and `ps` show the arguments of a process to every user of the machine.
    print_warning(f"{secret} is on the command line, where other users of this machine can read it; {instead}")


def warn_exposed_proxy(proxy: str | None) -> None:
    """Warn if the URL of a proxy, with a scheme or without, holds a password."""
    # "env" has none to expose: other users cannot read the environment of a process.
    if proxy is not None and ":" in proxy.rpartition("://")[2].rpartition("@")[0]:
        warn_exposed_secret("the password of the proxy", "set https_proxy or http_proxy, and use --proxy env")


def read_secret(variable: str | None, file: Path | None, name: str) -> str | None:
    """Return a token or key from an environment variable or a file, or ``None`` where neither is given.

    Args:
        variable: the value of ``--NAME-env``.
        file: the value of ``--NAME-file``.
        name: the name of the secret, for errors.
    """
    # No error repeats the value of an option: it may be the secret itself, passed to the wrong option by mistake.
    if variable and file:
        raise click.UsageError(f"--{name}-env and --{name}-file exclude each other")
    if variable:
        secret = os.environ.get(variable, "").strip()
        if not secret:
            raise click.UsageError(f"--{name}-env: the environment variable is not set, or empty")
        return secret
    if file:
        return read_secret_file(file, f"--{name}-file")
    return None


def read_secret_file(file: Path, option: str) -> str:
    """Return the text of a file of secrets, without surrounding whitespace.

    Raises:
        click.UsageError: the file cannot be read, is not text, or is empty.
    """
    try:
        # Editors and `echo` end the file with a newline, which is not part of the token.
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise click.UsageError(f"{option}: {error.strerror}") from None
    except ValueError:
        raise click.UsageError(f"{option}: it is not a text file") from None
    if not secret:
        raise click.UsageError(f"{option}: it is empty")
    return secret
