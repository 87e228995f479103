"""Who speaks: tokens and keys, from a variable or a file; one on the command line works too, and warns."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .outcome import warn


def read_token(token: str | None, variable: str | None, file: Path | None) -> str | None:
    """The token from where the options say it is."""
    if token is None:
        return read_secret(variable, file, "token")
    if variable or file:
        raise click.UsageError("--token excludes --token-env and --token-file")
    if not token.strip():
        raise click.UsageError("--token: it is empty")
    warn_of_argument("the token")
    return token.strip()


def warn_of_argument(what: str, instead: str = "use --token-env or --token-file") -> None:
    """Tell that a secret is where it can be seen."""
    warn(f"{what} stands on the command line, where other users of this machine can read it; {instead}")


def read_secret(variable: str | None, file: Path | None, name: str) -> str | None:
    """A token or key from where the options say it is.

    What the options hold is not repeated in an error: it could be the token itself, put there by mistake.
    """
    if variable and file:
        raise click.UsageError(f"--{name}-env and --{name}-file exclude each other")
    if variable:
        secret = os.environ.get(variable, "").strip()
        if not secret:
            raise click.UsageError(f"--{name}-env: no environment variable of this name holds anything")
        return secret
    if file:
        return read_secret_file(file, f"--{name}-file")
    return None


def read_secret_file(file: Path, option: str) -> str:
    """What is in a file of secrets, which must be there and hold something."""
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise click.UsageError(f"{option}: {error.strerror}") from None
    except ValueError:
        raise click.UsageError(f"{option}: it holds no text") from None
    if not secret:
        raise click.UsageError(f"{option}: it is empty")
    return secret
