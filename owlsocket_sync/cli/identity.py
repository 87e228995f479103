"""``owlsocket keys`` and ``owlsocket login``: keys and tokens."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import AuthMalformed
from ..auth import KeyPair, Login
from ..contrib.exit_codes import ExitCode, error_text
from .arguments import PlainGroup, Seconds
from .credentials import read_secret, warn_exposed_proxy
from .output import print_json

TIMEOUT = 10.0
PRIVATE_MODE = 0o600


@click.group(cls=PlainGroup)
def keys() -> None:
    """Create and show Ed25519 keys; private keys are written to files that only you can read.

    \b
    owlsocket keys new user.key
    owlsocket keys show --key-file user.key
    """


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the private key."""
    # The key itself is never an argument: other users of the machine can read those.
    for option in (
        click.option("--key-file", type=click.Path(path_type=Path), help="A file that holds the private key."),
        click.option("--key-env", metavar="NAME", help="The environment variable that holds the private key."),
    ):
        function = option(function)
    return function


def read_key(variable: str | None, file: Path | None) -> KeyPair:
    """Return the private key from an environment variable or a file."""
    text = read_secret(variable, file, "key")
    if text is None:
        raise click.UsageError("one of --key-file and --key-env is required")
    try:
        return KeyPair.parse(text)
    except AuthMalformed as error:
        raise click.UsageError(f"{'--key-env' if variable else '--key-file'}: {error_text(error)}") from None


@keys.command("new")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def new(file: Path | None) -> None:
    """Create a key.

    \b
    owlsocket keys new user.key
    owlsocket keys new

    With FILE, the private key is written to FILE, which must not exist, and is not printed. Without, it is printed.
    """
    pair = KeyPair.generate()
    if file is None:
        return print_json({"private": pair.private, "public": pair.public, "address": pair.address})
    try:
        # O_EXCL: overwriting a private key would lose the identity for good. The mode at creation: after a chmod
        # only, others could have opened the file before.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    except FileExistsError:
        raise click.UsageError(f"{file} exists already and is not overwritten; choose another name") from None
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(pair.private + "\n")
    return print_json({"public": pair.public, "address": pair.address})


@keys.command("show")
@key_options
def show(key_env: str | None, key_file: Path | None) -> None:
    """Print the public key and the address of a private key.

    \b
    owlsocket keys show --key-file user.key
    USER_KEY=… owlsocket keys show --key-env USER_KEY
    """
    pair = read_key(key_env, key_file)
    print_json({"public": pair.public, "address": pair.address})


@keys.command("address")
@click.argument("public")
def address(public: str) -> None:
    """Print the address of a PUBLIC key.

    \b
    owlsocket keys address "$(owlsocket keys show --key-file user.key | jq -r .public)"
    """
    try:
        print_json(KeyPair.from_public(public).address)
    except AuthMalformed as error:
        raise click.UsageError(error_text(error)) from None


@click.command("login")
@click.argument("base_url")
@key_options
@click.option("--service-url", metavar="URL", help="The service that the token is for, if it is another one.")
@click.option("--proxy", metavar="URL", help="An HTTP proxy, http://host:port; env for the environment's.")
@click.option(
    "--timeout", type=Seconds(), metavar="SECONDS", default=TIMEOUT, show_default=True, help="For the whole login."
)
def login(
    base_url: str,
    key_env: str | None,
    key_file: Path | None,
    service_url: str | None,
    proxy: str | None,
    timeout: float,
) -> ExitCode:
    """Log in at BASE_URL (http:// or https://) with a private key, and print {"token": …}.

    \b
    owlsocket login https://auth.example.com --key-file user.key
    owlsocket login https://auth.example.com --key-file user.key | jq -r .token > token

    The token is a secret: put it into a file for --token-file, or a variable for --token-env.
    """
    pair = read_key(key_env, key_file)
    warn_exposed_proxy(proxy)
    try:
        session = Login(base_url, pair, service_url, timeout=timeout, proxy=proxy)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    token = session.token()
    auth = session.auth
    print_json({"token": token, "user": auth.user_id if auth else None, "role": auth.role if auth else None})
    return ExitCode.OK
