"""``owlsocket keys`` and ``owlsocket login``: who speaks, from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .. import AuthMalformed
from ..auth import KeyPair, Login
from .arguments import PlainGroup, Seconds
from .credentials import read_secret
from .outcome import Exit, describe, put

TIMEOUT = 10.0
PRIVATE_MODE = 0o600


@click.group(cls=PlainGroup)
def keys() -> None:
    """Make and look at Ed25519 keys; private ones live in files that only you can read.

    \b
    owlsocket keys new user.key
    owlsocket keys show --key-file user.key
    """


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the private key is; it is never an argument, which other users could see."""
    for option in (
        click.option("--key-file", type=click.Path(path_type=Path), help="A file that holds the private key."),
        click.option("--key-env", metavar="NAME", help="The environment variable that holds the private key."),
    ):
        function = option(function)
    return function


def read_key(variable: str | None, file: Path | None) -> KeyPair:
    """The private key from where the options say it is."""
    text = read_secret(variable, file, "key")
    if text is None:
        raise click.UsageError("--key-file or --key-env must say where the private key is")
    try:
        return KeyPair.parse(text)
    except AuthMalformed as error:
        raise click.UsageError(f"{'--key-env' if variable else '--key-file'}: {describe(error)}") from None


@keys.command("new")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def new(file: Path | None) -> None:
    """Make a new key.

    \b
    owlsocket keys new user.key
    owlsocket keys new

    With FILE, the private key goes there, where nothing may be yet, and stays unprinted; without, it is printed too.
    """
    pair = KeyPair.generate()
    if file is None:
        return put({"private": pair.private, "public": pair.public, "address": pair.address})
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_MODE)
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(pair.private + "\n")
    return put({"public": pair.public, "address": pair.address})


@keys.command("show")
@key_options
def show(key_env: str | None, key_file: Path | None) -> None:
    """Print what may be known of a private key: its public key and its address.

    \b
    owlsocket keys show --key-file user.key
    USER_KEY=… owlsocket keys show --key-env USER_KEY
    """
    pair = read_key(key_env, key_file)
    put({"public": pair.public, "address": pair.address})


@keys.command("address")
@click.argument("public")
def address(public: str) -> None:
    """Print the address of a PUBLIC key.

    \b
    owlsocket keys address "$(owlsocket keys show --key-file user.key | jq -r .public)"
    """
    try:
        put(KeyPair.from_public(public).address)
    except AuthMalformed as error:
        raise click.UsageError(describe(error)) from None


@click.command("login")
@click.argument("base_url")
@key_options
@click.option("--service-url", metavar="URL", help="The service that the token is for, where that is another one.")
@click.option(
    "--timeout", type=Seconds(), metavar="SECONDS", default=TIMEOUT, show_default=True, help="For the whole login."
)
def login(base_url: str, key_env: str | None, key_file: Path | None, service_url: str | None, timeout: float) -> Exit:
    """Log in at BASE_URL (http:// or https://) with a private key, and print {"token": …}.

    \b
    owlsocket login https://auth.example.com --key-file user.key
    owlsocket login https://auth.example.com --key-file user.key | jq -r .token > token

    The token is a secret: put it where --token-file or --token-env finds it.
    """
    pair = read_key(key_env, key_file)
    try:
        session = Login(base_url, pair, service_url, timeout=timeout)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    token = session.token()
    who = session.auth
    put({"token": token, "user": who.user_id if who else None, "role": who.role if who else None})
    return Exit.OK
